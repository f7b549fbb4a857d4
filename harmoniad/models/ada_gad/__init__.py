"""ADA-GAD (He et al. 2024), a method for graphs, adapted to the graph of an image's patches.

Graph encoders learn from views with fewer anomalies; then a decoder is trained on the true graph.
"""
