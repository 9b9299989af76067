"""Datasets, and everything between an image file and a batch."""
