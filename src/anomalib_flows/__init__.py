"""Visual anomaly detection with normalizing flows, for factories."""

__version__ = "0.1.0"
