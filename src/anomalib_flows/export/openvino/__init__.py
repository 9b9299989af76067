"""The pipeline as a graph of OpenVINO."""
