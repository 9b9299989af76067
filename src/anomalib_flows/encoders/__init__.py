"""Frozen encoders: networks of timm, and where their weights come from."""

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
"""Network whose ImageNet weights are installed with this package."""

Triple = tuple[float, float, float]
"""One value for each colour channel."""
