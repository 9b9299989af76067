"""Run the command line by ``python -m anomalib_flows.cli``."""

import sys

from anomalib_flows.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
