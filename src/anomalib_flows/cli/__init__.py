"""The command line."""

from anomalib_flows.cli.app import main

__all__ = ["main"]
