"""Download and unpack published datasets."""
