"""An autoencoder with a centre in the manner of DASVDD (Hojjati and Armanfar, 2021), on the tokens of an encoder.

A token is strange if it is badly rebuilt from its code, or if its code lies far from the centre of the good ones.
"""
