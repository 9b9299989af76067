"""Parts of compare_with_anomalib.py. Parts that need torch or anomalib import it where they use it."""
