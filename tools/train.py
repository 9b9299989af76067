"""Run ``anomalib-flows train``."""

import sys

from anomalib_flows.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
