"""The stages of `dvc.yaml`, one file each, with one `run(params)` each."""
