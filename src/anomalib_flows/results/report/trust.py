"""Sentences of a report's first screen: what was decided, whether it can be trusted, and what would help."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from anomalib_flows.core.errors import FIELD
from anomalib_flows.core.types import ANOMALOUS, LABELS, NORMAL, ImageSize
from anomalib_flows.data.checks.scale import LARGEST_FACTOR, InputScale, advice, square
from anomalib_flows.results.decisions import few_images_line, percent, promise, share, verdict
from anomalib_flows.results.figure import THRESHOLD
from anomalib_flows.results.metrics.counts import exact_interval
from anomalib_flows.results.report.formats import Count, Metrics
from anomalib_flows.results.report.reading import Results
from anomalib_flows.run.config import TrainConfig

Status = Literal["good", "unknown", "bad"]
WORST: tuple[tuple[Status, str], ...] = (
    ("bad", "Do not rely on these decisions yet."),
    ("unknown", "Not everything is known about these decisions."),
    ("good", "These decisions can be relied on for images like those that set the threshold."),
)
MANY = 0.1
"""Share of the good or defective images from which on it is bad news that their decisions are wrong."""
WEAK_AUROC = 0.95
"""Below this, good and defective images are hard to tell apart by any threshold."""
OTHER_RATE, GAIN = 0.05, 0.1
"""A false-alarm rate that is proposed where it finds this share of the defects more."""
Scores = Mapping[str, Sequence[float]]
"""Normalised scores of images by their true label; of no label if it is unknown."""


class Remark(NamedTuple):
    """A sentence, and whether it is good news."""

    status: Status
    text: str


FORMER = Remark("bad", "They are those of the former threshold: `calibrate` has set another one since. Test again.")


def conclusion(said: list[Remark]) -> tuple[Remark, list[Remark]]:
    """Sum remarks up by the first of the worst ones, and return the others."""
    found = {"good", *(one.status for one in said)}
    status, text = next((status, text) for status, text in WORST if status in found)
    first = next((one for one in said if one.status == status and status != "good"), None)
    summary = Remark(status, f"{text} {first.text}" if first else text)
    return summary, [one for one in said if one is not first]


def trained_on(results: Results) -> str:
    """Say what was trained on what, and what was tested."""
    splits, said = results.splits(), []
    good = {split: sum(n for (name, _), n in splits.items() if name == split) for split in ("train", "calibration")}
    if good["train"]:
        count = good["calibration"]
        others = f"; {count} other{'s' * (count > 1)} set the threshold" if count else ""
        said.append(f"Trained on {good['train']} good images{others}.")
    elif "model" in results.facts:
        said.append(f"Model: {results.facts['model']}.")
    if results.metrics:
        image = results.metrics["image"]
        said.append(f"Tested on {image['normal_images']} good and {image['anomalous_images']} defective images.")
        if results.metrics.get("anomalies") == "drawn":
            said.append("The defects are drawn: they compare settings, and promise nothing for real defects.")
        if "disturb" in results.metrics:
            said.append("The images were changed at random.")
    return " ".join(said)


def remarks(results: Results, config: TrainConfig | None, scores: Scores, photo: ImageSize | None) -> list[Remark]:
    """Say whether the decisions can be trusted, and what would help; ``photo`` is the size of an image."""
    said = [FORMER] if results.former_threshold() else [*about_calibration(results, config)]
    if results.metrics:
        said += [*about_false_alarms(results.metrics), *about_missed(results.metrics, scores)]
    else:
        said += about_unlabelled(results, scores)
    missed = results.metrics is None or results.metrics["errors"]["missed"]["count"]
    if config and photo and missed:
        said += about_size(InputScale(config.image.height_width, config.image.resize), photo)
    return said


def about_calibration(results: Results, config: TrainConfig | None) -> Iterator[Remark]:
    """Say what the held-out images allow to promise."""
    facts, count = results.facts, results.facts.get("calibration_images")
    rate = facts["promised_false_alarm_rate"]
    if rate is None:
        said = promise(facts)
        yield Remark("unknown", f"{said[:1].upper()}{said[1:]}.")
    elif config and count and config.false_alarm_rate < rate:
        training = sum(n for (split, _), n in results.splits().items() if split == "train")
        yield Remark("unknown", few_images_line(count, training, config))
    elif count:
        said, best = f"{count} held-out good images set the threshold, enough to promise", percent(1 / (count + 1))
        allowed = "" if best == percent(rate) else f" They would allow {best} % at best."
        yield Remark("good", f"{said} {percent(rate)} % of false alarms.{allowed}")


def about_false_alarms(metrics: Metrics) -> Iterator[Remark]:
    """Say whether the promise held on the good test images."""
    alarms, rate = metrics["errors"]["false_alarms"], metrics["promised_false_alarm_rate"]
    if alarms["interval"] is None:
        yield Remark("unknown", "The rate of false alarms is unknown without good test images.")
        return
    low, high = alarms["interval"]
    many, above = alarms["count"] > MANY * alarms["of"], rate is not None and low > rate
    said = [f"False alarms: {share(alarms, 'good images')}."] if many or above else []
    said += verdict(alarms, metrics)
    if above:
        said.append("Calibrate with good photos from the place where the model will work.")
    if said:
        status: Status = "bad" if many or above else "good" if rate is not None and high <= rate else "unknown"
        yield Remark(status, " ".join(said))


def about_missed(metrics: Metrics, scores: Scores) -> Iterator[Remark]:
    """Say how many defects were missed, and what would find more."""
    missed, image = metrics["errors"]["missed"], metrics["image"]
    if not missed["of"]:
        yield Remark("unknown", "The rate of missed defects is unknown without defective test images.")
        return
    many = missed["count"] > MANY * missed["of"]
    yield Remark("bad" if many else "good", f"Missed: {share(missed, 'defective images')}.")
    if missed["count"] and image["auroc"] is not None and image["auroc"] < WEAK_AUROC:
        yield Remark(
            "unknown",
            "Scores of good and defective images overlap: larger images (`--image.size`), more good photos or a longer "
            "training may separate them.",
        )
    rate = metrics["promised_false_alarm_rate"]
    if rate is not None and rate < OTHER_RATE:
        yield from about_other_rate(missed, scores)


def about_other_rate(missed: Count, scores: Scores) -> Iterator[Remark]:
    """Say how many defects a higher rate of false alarms would find, if they are many."""
    good, defective = scores.get(LABELS[NORMAL], []), scores.get(LABELS[ANOMALOUS], [])
    highest = sorted(good)[-math.floor(OTHER_RATE * len(good)) - 1] if good else math.inf
    others = sum(score <= highest for score in defective)
    if missed["count"] - others > GAIN * missed["of"]:
        yield Remark(
            "unknown",
            f"With at most {percent(OTHER_RATE)} % of false alarms on these images, {others} defects would be missed. "
            f"Try it with the slider below, and set it with `calibrate --false-alarm-rate {OTHER_RATE:g}`.",
        )


def about_unlabelled(results: Results, scores: Scores) -> Iterator[Remark]:
    """Say what predictions alone cannot show, and whether there are more anomalous images than good ones would give."""
    yield Remark("unknown", "How many defects are missed is unknown: that takes images whose truth is known.")
    rate, every = results.facts["promised_false_alarm_rate"], [score for group in scores.values() for score in group]
    anomalous = sum(score > THRESHOLD for score in every)
    if rate is not None and exact_interval(anomalous, len(every))[0] > rate:
        yield Remark(
            "unknown",
            f"{anomalous} of {len(every)} images are called anomalous. If most of them are good, they differ from the "
            "images that set the threshold: calibrate with such ones (`calibrate --images`).",
        )


def about_size(scale: InputScale, photo: ImageSize) -> Iterator[Remark]:
    """Say which defects vanish where photos are scaled down, and what shows them."""
    if (factor := scale.factor(photo)) > LARGEST_FACTOR:
        lost = f"defects smaller than about {square(scale, photo)} pixels are likely missed"
        advised = FIELD.sub(r"`--\1`", advice(photo, scale))  # options for fields
        yield Remark("unknown", f"Photos are scaled down {factor:.1f}-fold: {lost}. {advised}")
