import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from anomalib_flows.core.errors import InputError
from anomalib_flows.export.network import GraphOutputs
from anomalib_flows.runtime.ports import ANY, INPUT, OUTPUTS, ImageInput, lengths
from tiny_export import build

PHOTO = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def taking(*shape: int, dtype=np.uint8) -> ov.Model:
    image = ops.parameter(shape, dtype)
    return ov.Model([ops.result(image)], [image])


@pytest.mark.parametrize("batch", [1, 4, ANY])
def test_images_are_arranged_for_the_model(batch):
    repeated = [PHOTO] * max(1, batch)
    last = ImageInput.of(taking(batch, -1, 12, 3), "NHWC")
    first = ImageInput.of(taking(batch, 3, 8, 12, dtype=np.float32), "NCHW")
    assert (last.batch, last.size, first.size) == (batch, (ANY, 12), (8, 12))
    np.testing.assert_array_equal(last.arrange(PHOTO), np.stack(repeated))
    np.testing.assert_array_equal(first.arrange(PHOTO), np.stack(repeated).transpose(0, 3, 1, 2).astype(np.float32))
    assert (last.arrange(PHOTO).dtype, first.arrange(PHOTO).dtype) == (np.uint8, np.float32)


def test_photos_are_not_copied_where_they_need_not_be():
    assert np.shares_memory(ImageInput.of(taking(1, -1, -1, 3), "NHWC").arrange(PHOTO), PHOTO)


@pytest.mark.parametrize("size", [(8, 11), (9, 12)])
def test_other_sizes_are_refused_by_name(size):
    accepted = ImageInput.of(taking(1, 8, 12, 3), "NHWC")
    with pytest.raises(
        InputError, match=f"a.png is {size[0]} x {size[1]} pixels high and wide, but .* accepts 8 x 12: "
    ):
        accepted.require_size(size, "a.png")
    with pytest.raises(InputError, match="An image is"):
        accepted.arrange(np.zeros((*size, 3), np.uint8))
    with pytest.raises(InputError, match="b.png is"):
        accepted.arrange(np.zeros((*size, 3), np.uint8), "b.png")


def test_images_that_are_as_wide_as_they_have_colours():
    narrow = PHOTO[:, :3]
    first, last = ImageInput.of(taking(1, 3, 8, 3), "NCHW"), ImageInput.of(taking(1, 8, 3, 3), "NHWC")
    assert first.size == last.size == (8, 3)
    np.testing.assert_array_equal(first.arrange(narrow)[0], narrow.transpose(2, 0, 1))
    np.testing.assert_array_equal(last.arrange(narrow)[0], narrow)


def test_names_are_those_of_exports(card):
    model = build(card)
    assert model.input(INPUT) == model.input(0)
    assert all(lengths(model.output(name))[0] == 1 for name in OUTPUTS)
    assert GraphOutputs._fields == OUTPUTS
