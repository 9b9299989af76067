"""Dataset adapters: a root folder becomes a list of samples."""
