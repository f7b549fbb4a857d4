"""PaDiM (Defard et al., "PaDiM: a Patch Distribution Modeling Framework", 2021): a Gaussian at every position.

It knows where in the image it looks, so it suits parts that always lie the same way.
"""
