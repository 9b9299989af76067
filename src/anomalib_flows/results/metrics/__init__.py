"""Figures of detection on raw scores, of images and of pixels."""
