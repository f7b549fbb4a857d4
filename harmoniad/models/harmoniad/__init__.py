"""HarmoniAD: our reading of the abstract of arXiv 2601.00327.

What deviates from a memory of normal tokens is split in the frequency domain. The high path (FSAM) looks at texture and
edges, the low path (GSCM) at the whole; head 2 fuses them. Each category's maps get the weights that they earn on good
images against copies with made defects. A reconstruction through the same two paths (head 1) is a switch.
"""
