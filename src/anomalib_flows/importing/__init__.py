"""Models that were trained with other code bases: their checkpoints become ours."""
