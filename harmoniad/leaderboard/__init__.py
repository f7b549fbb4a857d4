"""All detectors on all data sets, each with several seeds, measured alike and side by side."""
