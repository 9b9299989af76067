"""Drawn images, and the loss that an encoder is trained with on them."""
