"""Draw synthetic products and defects."""
