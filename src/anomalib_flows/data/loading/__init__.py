"""Read, resize, cache and augment images."""
