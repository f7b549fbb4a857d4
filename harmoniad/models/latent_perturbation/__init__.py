"""latent_perturbation"""
