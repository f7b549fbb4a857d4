"""An autoencoder against a distorter (Khazaie et al. 2022).

The distorter perturbs the latent features so that the reconstruction suffers most; the autoencoder withstands it.
"""
