"""Distance of each token to the mean of all normal ones: the simplest detector there is."""
