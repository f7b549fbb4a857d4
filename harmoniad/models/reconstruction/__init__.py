"""What the reconstructing detectors share: groups of layers as targets, attention, losses, the training loop."""
