"""A masked convolutional transformer block in the manner of SSMCTB (Madan et al., TPAMI 2024), by itself.

A convolution whose middle is masked predicts each token from four others around it, and attention among the channels
weighs what it finds.
"""
