"""The course of a run: train, calibrate, evaluate, predict."""
