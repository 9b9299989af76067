"""Measure the speed and the memory of models."""
