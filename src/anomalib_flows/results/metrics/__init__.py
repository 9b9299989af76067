"""Detection metrics on raw scores, of images and of pixels."""
