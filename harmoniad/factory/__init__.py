"""The factory loop before the pipeline: new images come in, are compared with what is known, and become a version."""
