"""BiFlow (Peng et al. 2024), a method for network traffic, adapted to patches.

A normalising flow makes pseudo-anomalies of normal patches, and a small classifier learns to tell them apart.
"""
