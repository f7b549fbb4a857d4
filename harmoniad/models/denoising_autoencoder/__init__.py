"""denoising_autoencoder"""
