"""Frozen encoders: an image becomes a few feature maps."""
