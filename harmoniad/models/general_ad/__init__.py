"""A discriminator of normal and distorted features in the manner of GeneralAD (Straeter et al., ECCV 2024).

Tokens of good images are distorted by noise, shuffled and copied; one block of attention says which tokens are.
"""
