"""From a trained pipeline to a file that decides the same without the training code."""
