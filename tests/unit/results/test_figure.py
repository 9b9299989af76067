from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from anomalib_flows.core.types import ImageResult, Sample
from anomalib_flows.results import figure as module
from anomalib_flows.results.figure import AMBER, DEFECT, LABEL_COLOURS, figure, panel_size

Make = Callable[..., ImageResult]
MakeSample = Callable[..., Sample]


def draw(result: ImageResult, title: str = "test/crack/000.png") -> Image.Image:
    return figure(result, result.picture, title)


def count(picture: object, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(axis=-1).sum())


@pytest.mark.parametrize("size", [(256, 256), (1024, 1024), (283, 105), (60, 900), (1, 1), (3000, 40), (24, 32)])
def test_panels_keep_the_aspect_ratio_within_bounds(size: tuple[int, int]) -> None:
    width, height = panel_size(size[1], size[0])
    assert 1 <= width <= 430
    assert 1 <= height <= 320
    assert width == pytest.approx(size[1] * height / size[0], abs=1 + size[1] / size[0])


@pytest.mark.parametrize("size", [(256, 256), (283, 105), (60, 900), (1, 1), (300, 20)])
def test_figures_of_all_shapes_hold_four_panels(make_result: Make, size: tuple[int, int]) -> None:
    drawn = draw(make_result(picture=np.full((*size, 3), 7, dtype=np.uint8), label=0))
    width, height = panel_size(size[1], size[0])
    assert drawn.mode == "RGB"
    assert drawn.width >= 4 * width
    assert drawn.height >= height
    # The first panel is the image itself.
    assert count(drawn, (7, 7, 7)) >= width * height


def test_panels_show_the_masks(make_result: Make) -> None:
    nothing = np.zeros((64, 64), dtype=bool)
    found = count(draw(make_result()), DEFECT)
    assert count(draw(make_result(mask=nothing)), DEFECT) == pytest.approx(found / 2, rel=0.2)
    assert count(draw(make_result(mask=nothing, ground_truth=nothing)), DEFECT) == 0


def test_unknown_ground_truth_has_an_empty_panel(make_result: Make, make_sample: MakeSample) -> None:
    empty, good = module.EMPTY, make_sample(label=0, defect="good")
    assert count(draw(make_result(ground_truth=None)), empty) > 10_000
    assert count(draw(make_result(ground_truth=None, sample=None)), empty) > 10_000
    assert count(draw(make_result(ground_truth=None, sample=good)), empty) == 0


@pytest.mark.parametrize(
    ("truth", "predicted", "wrong"),
    [(0, 0, False), (0, 1, True), (1, 0, True), (1, 1, False), (None, 1, False)],
)
def test_wrong_decisions_are_framed(
    make_result: Make, make_sample: MakeSample, truth: int | None, predicted: int, wrong: bool
) -> None:
    result = make_result(sample=None if truth is None else make_sample(label=truth), label=predicted)
    drawn = draw(result)
    corners = [drawn.getpixel((0, 0)), drawn.getpixel((drawn.width - 1, drawn.height - 1))]
    assert result.wrong == wrong
    assert corners == [AMBER if wrong else (255, 255, 255)] * 2


def test_labels_have_their_colours(make_result: Make, make_sample: MakeSample) -> None:
    nothing = {"mask": np.zeros((64, 64), dtype=bool), "ground_truth": None}
    for label, other in ((0, 1), (1, 0)):
        drawn = draw(make_result(sample=make_sample(label=label), label=label, **nothing))
        assert count(drawn, LABEL_COLOURS[label]) > 0
        assert count(drawn, LABEL_COLOURS[other]) == 0


def test_caption_says_everything(make_result: Make) -> None:
    words = "".join(word for word, _ in module._facts(make_result(label=0, score=0.4321)))
    for part in (
        "true: anomalous (crack)",
        "predicted: normal",
        "score: 0.4321 ",
        "threshold: 0.5 ",
        "p-value: 0.0123",
    ):
        assert part in words


def test_raw_scores_are_not_shown(make_result: Make) -> None:
    shown = ["".join(word for word, _ in module._facts(make_result(raw_score=raw))) for raw in (3.5, -7.25, None)]
    assert len(set(shown)) == 1
    assert "score: 0.8 " in shown[0]


def test_long_names_and_defects_stay_inside(make_result: Make, make_sample: MakeSample) -> None:
    short = draw(make_result(label=0))
    long = draw(make_result(label=0), "n" * 200 + ".png")
    assert long.size == short.size
    assert draw(make_result(sample=make_sample(defect="d" * 500))).width < 2 * short.width
