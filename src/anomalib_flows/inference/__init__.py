"""Run a pipeline over samples."""
