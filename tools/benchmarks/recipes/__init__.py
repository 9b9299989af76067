"""Parts of compare_recipes.py."""
