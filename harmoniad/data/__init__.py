"""Data sets: layouts, the manifest, validation and the sample factory."""
