"""A reconstruction in the manner of Dinomaly (Guo et al., CVPR 2025): HarmoniAD without its frequency part.

Frozen encoder, noisy bottleneck, linear attention, grouped targets and the hard-mined cosine loss are Dinomaly's; the
decoder works in a narrower space than the encoder's own, so that it trains on a CPU.
"""
