"""Measure the speed and the memory of models."""

from anomalib_flows.benchmark.latency import measure_latency
from anomalib_flows.benchmark.latency_options import LatencyOptions

__all__ = ["LatencyOptions", "measure_latency"]
