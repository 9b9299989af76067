"""Records, files and helpers that every other package may import."""
