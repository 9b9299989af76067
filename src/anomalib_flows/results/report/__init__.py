"""Reports: one HTML file about the results of a run, or one that compares several."""

from anomalib_flows.results.report.comparison import write_comparison
from anomalib_flows.results.report.page import write_report

__all__ = ["write_comparison", "write_report"]
