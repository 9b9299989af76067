"""Detectors, and the pipeline that makes decisions of their maps."""
