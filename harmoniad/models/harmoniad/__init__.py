"""HarmoniAD: our reading of the abstract of arXiv 2601.00327.

Features are split in the frequency domain. The high path (FSAM) looks at texture and edges, the low path (GSCM) at the
whole; both are fused, squeezed through a noisy bottleneck and decoded into the encoder's own features. Where the
prediction differs from the features, something is there that training has not shown.
"""
