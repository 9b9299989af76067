"""Kill commands at random moments, and see what is left."""
