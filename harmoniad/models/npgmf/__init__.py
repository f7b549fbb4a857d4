"""NPGMF (arXiv 2506.18544, 2025), our reading of its abstract: logical anomalies by priors of what is normal.

Each patch of a logical anomaly is normal. A decoder rebuilds the image from one short vector and from priors of the
category; how much there is of each code of normal patches, and where, is compared with normal images.
"""
