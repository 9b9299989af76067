"""Frozen encoders: networks of timm, and one that comes with this package."""

Triple = tuple[float, float, float]
"""One value for each colour channel."""
