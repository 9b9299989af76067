"""Measure how fast models are."""
