"""Find the images that folders, patterns and tables name."""
