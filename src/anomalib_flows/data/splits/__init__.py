"""Decide which image is used for what."""
