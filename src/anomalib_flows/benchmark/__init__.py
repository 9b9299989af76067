"""Measure the speed and the memory of models."""

from anomalib_flows.benchmark.latency import LatencyOptions, measure_latency

__all__ = ["LatencyOptions", "measure_latency"]
