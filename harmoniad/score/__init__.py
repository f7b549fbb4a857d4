"""`harmoniad score`: images of a folder, a list or a camera scored with a model, as they come."""
