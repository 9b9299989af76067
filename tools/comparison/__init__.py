"""The parts of compare_with_anomalib.py; those that need torch or anomalib import it where it is used."""
