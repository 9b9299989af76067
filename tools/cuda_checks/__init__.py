"""Checks of everything that a GPU has to show; each also runs on a CPU, at a tiny size."""
