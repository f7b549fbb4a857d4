"""A reconstruction in the manner of INP-Former (Luo et al., CVPR 2025), from prototypes of the image itself.

A few prototypes are gathered from the tokens of an image, and every token is rebuilt from these alone, so what is rare
in the image finds no way past them. As in `dinomaly`, the decoder works in a narrower space than the encoder's own.
"""
