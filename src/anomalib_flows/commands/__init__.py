"""The commands, one file each; their signatures are the command line."""
