"""Metrics of image scores and anomaly maps for any Lightning module, as classes of torchmetrics."""

from anomalib_flows.metrics.detection import AUROC, F1, AveragePrecision, F1Max, F1MaxThreshold
from anomalib_flows.metrics.regions import AUPIMO, AUPRO

__all__ = ["AUPIMO", "AUPRO", "AUROC", "F1", "AveragePrecision", "F1Max", "F1MaxThreshold"]
