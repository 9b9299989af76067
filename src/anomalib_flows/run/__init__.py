"""A run as a value: the configuration that makes it, and the directory that it leaves behind."""
