"""MemAAE (Xiao et al. 2021), a method for time series, adapted to patches.

The neighbours of a patch take the place of the past: what a small memory can neither rebuild nor predict is unusual.
"""
