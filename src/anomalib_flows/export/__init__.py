"""From a trained pipeline to a file that makes the same decisions without the training code."""
