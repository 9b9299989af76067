"""Sentences of a report's first screen: what was decided, whether it can be trusted, and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from anomalib_flows.core.conformal import images_needed
from anomalib_flows.core.errors import FIELD
from anomalib_flows.core.types import ImageSize
from anomalib_flows.data.checks.scale import LARGEST_FACTOR, InputScale, advice, square
from anomalib_flows.results.decisions import percent, promise, share, verdict
from anomalib_flows.results.report.formats import Metrics
from anomalib_flows.results.report.reading import Results
from anomalib_flows.run.config import TrainConfig

Status = Literal["good", "unknown", "bad"]
WORST: tuple[tuple[Status, str], ...] = (
    ("bad", "Do not rely on these decisions yet."),
    ("unknown", "Not enough is known to rely on these decisions."),
    ("good", "These decisions can be relied on for images like those tested."),
)
WEAK_AUROC, GAIN = 0.9, 0.05
"""Below this AUROC the ranking itself is weak; by this F1 another threshold is clearly better."""


class Remark(NamedTuple):
    """A sentence, and whether it is good news."""

    status: Status
    text: str


def conclusion(remarks: list[Remark]) -> Remark:
    """Sum remarks up by the worst of them."""
    found = {remark.status for remark in remarks}
    return next(Remark(status, text) for status, text in WORST if status in found or status == "good")


def trained_on(results: Results) -> str:
    """Say what was trained on what, and what was tested."""
    splits, said = results.splits(), []
    good = {split: sum(n for (name, _), n in splits.items() if name == split) for split in ("train", "calibration")}
    if good["train"]:
        said.append(f"Trained on {good['train']} good images; {good['calibration']} others set the threshold.")
    elif "model" in results.facts:
        said.append(f"Results of {results.facts['model']}.")
    if results.metrics:
        image = results.metrics["image"]
        said.append(f"Tested on {image['normal_images']:g} good and {image['anomalous_images']:g} defective images.")
        if results.metrics.get("anomalies") == "drawn":
            said.append("The defects are drawn: they compare settings, and promise nothing for real defects.")
        if "disturb" in results.metrics:
            said.append("The images were changed at random.")
    return " ".join(said)


def remarks(results: Results, config: TrainConfig | None, photo: ImageSize | None) -> list[Remark]:
    """Say whether the decisions can be trusted, and what would help; ``photo`` is the size of a typical image."""
    said = [*about_calibration(results, config)]
    if results.metrics:
        said += [*about_false_alarms(results.metrics), *about_missed(results.metrics)]
    if config and photo:
        said += about_size(InputScale(config.image.height_width, config.image.resize), photo)
    return said


def about_calibration(results: Results, config: TrainConfig | None) -> Iterator[Remark]:
    """Say what the held-out images allow to promise."""
    facts, count = results.facts, results.facts.get("calibration_images")
    rate, asked = facts["promised_false_alarm_rate"], config.false_alarm_rate if config else None
    if rate is None:
        yield Remark("unknown", f"{promise(facts)[:1].upper()}{promise(facts)[1:]}.")
    elif asked and count and asked < rate:
        needed = images_needed(asked)
        yield Remark(
            "unknown",
            f"{count} held-out good images set the threshold. They can promise {percent(rate)} % of false alarms at best; "
            f"{percent(asked)} % takes {needed}, which is {needed - count} more.",
        )
    elif count:
        yield Remark(
            "good",
            f"{count} held-out good images set the threshold, enough to promise {percent(rate)} % of false alarms. "
            f"They would allow {percent(1 / (count + 1))} % at best.",
        )


def about_false_alarms(metrics: Metrics) -> Iterator[Remark]:
    """Say whether the promise held on the good test images."""
    alarms, rate = metrics["errors"]["false_alarms"], metrics["promised_false_alarm_rate"]
    if alarms["interval"] is None:
        yield Remark("unknown", "The rate of false alarms is unknown without good test images.")
    elif rate is not None:
        low, high = alarms["interval"]
        status: Status = "bad" if low > rate else "good" if high <= rate else "unknown"
        help_ = " Calibrate with good photos from the place where the model will work." * (status == "bad")
        yield Remark(status, " ".join(verdict(alarms, metrics)) + help_)


def about_missed(metrics: Metrics) -> Iterator[Remark]:
    """Say how many defects were missed, and what would find more."""
    missed, image = metrics["errors"]["missed"], metrics["image"]
    if not missed["of"]:
        yield Remark("unknown", "The rate of missed defects is unknown without defective test images.")
        return
    yield Remark("bad" if missed["count"] > missed["of"] / 10 else "good", f"Missed: {share(missed, 'defective images')}.")
    if missed["count"] and image["auroc"] is not None and image["auroc"] < WEAK_AUROC:
        yield Remark("bad", "Good and defective images score alike. More good photos or larger images may separate them.")
    elif missed["count"] and (image["f1_max"] or 0) > (image["f1"] or 0) + GAIN:
        yield Remark("unknown", "Another threshold decides better on these images: see the slider below.")


def about_size(scale: InputScale, photo: ImageSize) -> Iterator[Remark]:
    """Say which defects vanish where photos are scaled down, and what shows them."""
    if (factor := scale.factor(photo)) > LARGEST_FACTOR:
        lost = f"defects smaller than about {square(scale, photo)} pixels are likely missed"
        advised = FIELD.sub(r"--\1", advice(photo, scale))  # options for fields
        yield Remark("bad", f"Photos are scaled down {factor:.1f}-fold: {lost}. {advised}")

