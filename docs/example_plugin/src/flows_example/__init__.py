"""A model and a dataset for anomalib-flows."""
