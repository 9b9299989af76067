"""Facts about what decided, for the files of results: what set the thresholds, and what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib_flows.core.conformal import promised_rate
from anomalib_flows.core.types import Protocol, ThresholdSource
from anomalib_flows.run.directory import Run

if TYPE_CHECKING:
    from anomalib_flows.inference.runner import PipelineRunner
    from anomalib_flows.runtime.model_card import ModelCard


def about_pipeline(run: Run, runner: PipelineRunner) -> dict[str, Any]:
    """Return what set the thresholds, and the false-alarm rate that they promise; None if they promise none."""
    pipeline = runner.pipeline
    count, rate = pipeline.postprocess.calibration_size, run.config().false_alarm_rate
    return facts(count, rate, pipeline.protocol, pipeline.threshold_source)


def about_card(model: Path, card: ModelCard) -> dict[str, Any]:
    """Return the same of an exported model."""
    count = len(card.calibration_scores)
    return {"model": str(model), **facts(count, card.false_alarm_rate, card.protocol, card.threshold_source)}


def facts(count: int, false_alarm_rate: float, protocol: Protocol, source: ThresholdSource) -> dict[str, Any]:
    """Return the facts as files of results name them."""
    return {
        "protocol": protocol,
        "threshold_source": source,
        "promised_false_alarm_rate": promised_rate(count, false_alarm_rate, protocol, source),
        "calibration_images": count,
    }
