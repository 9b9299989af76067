"""Parts of compare_exports.py. Parts that need torch, OpenVINO or anomalib import them where they use them."""
