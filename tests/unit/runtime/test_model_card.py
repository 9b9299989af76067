from dataclasses import fields, replace

import numpy as np
import openvino as ov
import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.runtime.model_card import SECTION, read_card, write_card


def stored(tmp_path, card, **changed):
    """A model with a card and some of its texts changed, written and read again."""
    parameter = ov.opset13.parameter([1], np.float32)
    model = ov.Model([ov.opset13.result(parameter)], [parameter])
    if card:
        write_card(model, card)
    for key, text in changed.items():
        model.set_rt_info(text, [SECTION, key])
    ov.save_model(model, tmp_path / "m.xml")
    return ov.Core().read_model(tmp_path / "m.xml")


def test_card_comes_back_exactly(tmp_path, card):
    values = tuple(float(np.float32(x)) for x in np.sort(np.random.default_rng(0).standard_cauchy(50)) * 1e-6)
    full = replace(card, calibration_scores=values, metrics={"image": {"auroc": 0.1 + 0.2, "none": None}, "a<": '&"'})
    assert read_card(stored(tmp_path, full)) == full
    empty = replace(card, calibration_scores=(), calibration_maxima=(), dataset="", resize="pad")
    assert read_card(stored(tmp_path, empty)) == empty


def test_facts_of_later_versions_have_defaults(tmp_path, card):
    model = stored(tmp_path, replace(card, threshold_source="hand", mask_area=0.1))
    older = ov.Model(model.get_results(), model.get_parameters())
    for name in (one.name for one in fields(card) if one.name not in ("threshold_source", "mask_area")):
        older.set_rt_info(model.get_rt_info([SECTION, name]).astype(str), [SECTION, name])
    assert read_card(older) == card
    assert read_card(model) != card


def test_card_is_replaced(tmp_path, card):
    model = stored(tmp_path, card)
    other = replace(card, image_threshold=7.0)
    write_card(model, other)
    assert read_card(model) == other


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "2"}, "m.xml has format 2.*reads 1: upgrade it"),
        ({"format": "2", "resize": "unknown"}, "upgrade"),
        ({"format": "x"}, "has no valid format"),
        ({"resize": "crop"}, "has no valid resize"),
        ({"image_size": "256"}, "has no valid image_size"),
        ({"typical": ""}, "has no valid typical"),
        ({"calibration_scores": "1 x"}, "has no valid calibration_scores"),
        ({"metrics": "{"}, "has no valid metrics"),
    ],
)
def test_invalid_cards_are_refused(tmp_path, card, changed, message):
    with pytest.raises(InputError, match=message):
        read_card(stored(tmp_path, card, **changed), tmp_path / "m.xml")


def test_models_of_others_are_refused(tmp_path):
    with pytest.raises(InputError, match="The model was not exported by anomalib-flows"):
        read_card(stored(tmp_path, None))
    with pytest.raises(InputError, match="has no valid version"):
        read_card(stored(tmp_path, None, format="1"))
