"""The self-supervised autoencoder (Bauer et al. 2022): it repairs partly corrupted features.

What it changes in an image is unusual: it stands for a projection onto the normal ones.
"""
