from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.timing import MIN_CALLS, WARM_UP
from anomalib_flows.runtime import ExportedModel, measuring
from anomalib_flows.runtime.measuring import (
    inference,
    memory,
    open_subject,
    openvino_machine,
    parts,
    single_latency,
    throughput,
)
from anomalib_flows.runtime.model_card import write_card
from anomalib_flows.runtime.ports import PARTS
from tiny_export import CARD, build

RANDOM = np.random.default_rng(0)
PHOTOS = [RANDOM.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(30, 40), (8, 12), (16, 24)]]


def forget(_: float) -> None:
    pass


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_the_model_that_is_timed_computes_what_the_runtime_does(export, layout, channels):
    model = export(input_layout=layout, channels=channels)
    photos = [np.repeat(photo.mean(2, keepdims=True).astype(np.uint8), 3, axis=2) for photo in PHOTOS]
    subject = open_subject(model, "cpu", photos)
    request = subject.compile("f32").create_infer_request()
    for photo, tensor in zip(photos, subject.tensors, strict=True):
        inference(request, tensor)()
        assert request.get_tensor("raw_score").data[0] == ExportedModel(model)(photo).raw_score


@pytest.mark.parametrize(
    ("size", "wished", "taken"),
    [((-1, -1), None, (8, 12)), ((-1, -1), (20, 30), (20, 30)), ((24, 36), None, (24, 36)), ((-1, 36), None, (8, 36))],
)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_noise_has_the_given_size_or_that_of_the_model(export, size, wished, taken, layout):
    subject = open_subject(export(size=size, input_layout=layout), "CPU", image_size=wished)
    assert subject.image_sizes == [taken]
    assert np.ptp(subject.tensors[0].data) > 200


def test_largest_size_comes_first(export):
    assert open_subject(export(), "CPU", PHOTOS * 2).image_sizes == [(30, 40), (16, 24), (8, 12)]


def test_sizes_that_the_model_does_not_accept_are_refused(export):
    model = export(size=(-1, 12))
    with pytest.raises(InputError, match="An image is 30 x 40 pixels high and wide, but the model accepts any x 12: "):
        open_subject(model, "CPU", PHOTOS)
    with pytest.raises(InputError, match="9 x 13 pixels"):
        open_subject(model, "CPU", image_size=(9, 13))


def test_models_without_resizing_accept_floats(tmp_path):
    image = ops.parameter([1, 3, 8, 12], np.float32, name="image")
    model = ov.Model([ops.result(ops.reduce_mean(image, ops.constant([0, 1, 2, 3])))], [image], "bare")
    write_card(model, replace(CARD, resizes="no", input_layout="NCHW"))
    ov.save_model(model, tmp_path / "a.xml", compress_to_fp16=False)
    subject = open_subject(tmp_path / "a.xml", "CPU")
    assert subject.image_sizes == [CARD.image_size]
    request = subject.compile("f32").create_infer_request()
    inference(request, subject.tensors[0])()
    assert request.get_output_tensor(0).data == pytest.approx(subject.tensors[0].data.mean())


@pytest.mark.parametrize(("batch", "images"), [(1, 1), (4, 4), (-1, 1)])
def test_batches_have_the_size_that_the_model_accepts(export, batch, images):
    subject = open_subject(export(batch=batch), "CPU", PHOTOS)
    assert subject.batch == images
    assert all((tensor.data == photo).all() for tensor, photo in zip(subject.tensors, PHOTOS, strict=True))
    assert single_latency(subject, "f32", 0.01, forget).calls >= MIN_CALLS


@pytest.mark.parametrize(
    ("capabilities", "asked", "precisions"),
    [
        (["FP32", "FP16", "BF16", "INT8"], "f32", ["f32", "bf16", "f16"]),
        (["BIN", "FP16", "FP32"], "f16", ["f16", "f32"]),
        (["FP16", "INT8"], "f32", ["f16"]),
        ([], "f32", ["f32"]),
    ],
)
def test_precisions_are_those_of_the_device_and_the_preferred_one_comes_first(export, capabilities, asked, precisions):
    subject = open_subject(export(inference_precision=asked), "CPU")
    assert replace(subject, core=SimpleNamespace(get_property=lambda *_: capabilities)).precisions == precisions


@pytest.mark.parametrize("batch", [1, 3])
def test_throughput_counts_all_images_of_the_time(export, monkeypatch, batch):
    started, now = [], [0.0]

    class Queue(ov.AsyncInferQueue):
        def start_async(self, *inputs, **options):
            started.append(inputs)
            super().start_async(*inputs, **options)

    def perf_counter() -> float:
        now[0] += 0.125
        return now[0]

    subject, told = open_subject(export(batch=batch), "CPU", PHOTOS), []
    monkeypatch.setattr(ov, "AsyncInferQueue", Queue)
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=perf_counter))
    counted = throughput(subject, "f32", 3.0, told.append)
    warm = max(WARM_UP, len(PHOTOS)) * counted.requests
    assert len(started) == warm + 24
    assert counted.images_per_second == pytest.approx(24 * batch / (now[0] - 0.125))
    assert sum(told) == 3.0


def test_streams_are_those_that_were_asked_for(export):
    subject = open_subject(export(), "CPU")
    assert throughput(subject, "f32", 0.01, forget, streams=1).streams == 1
    assert throughput(subject, "f32", 0.01, forget).requests >= 1


def chain(path, sizes: dict[str, int]):
    """Write a model whose parts multiply matrices of the given sizes, one after the other."""
    image = ops.parameter([1, 8, 12, 3], np.uint8, name="image")
    value = ops.reduce_mean(ops.convert(image, "f32"), ops.constant([0, 1, 2, 3]))
    for part, size in sizes.items():
        square = ops.constant(RANDOM.normal(0, 1 / size, (size, size)).astype(np.float32))
        product = ops.matmul(ops.add(square, value), square, False, False, name=f"{part}/product")
        value = ops.reduce_mean(product, ops.constant([0, 1]), name=f"{part}/mean")
    model = ov.Model([ops.result(value)], [image], "chain")
    write_card(model, CARD)
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def test_time_is_measured_for_each_part(tmp_path):
    subject = open_subject(chain(tmp_path / "a.xml", {"encoder": 64, "flow": 640, "whitening": 2}), "CPU")
    taken = parts(subject, "f32", 0.2, forget)
    assert list(taken) == list(PARTS)
    assert taken["preprocess"] == 0
    assert 0 < taken["encoder"] < taken["flow"]
    assert taken["whitening"] < taken["flow"]


@pytest.mark.parametrize("part", PARTS)
def test_time_of_one_part_is_all_of_that_part(tmp_path, part):
    model = build(CARD)
    for node in model.get_ops():
        node.set_friendly_name(f"{part}/{node.get_friendly_name()}")
    ov.save_model(model, tmp_path / "a.xml", compress_to_fp16=False)
    taken = parts(open_subject(tmp_path / "a.xml", "CPU", image_size=(200, 300)), "f32", 0.05, forget)
    assert taken[part] > 0
    assert taken[part] >= 0.9 * sum(taken.values())  # what OpenVINO puts in at the end has no part


@pytest.mark.skipif(not measuring.STATUS.exists(), reason="this system does not report memory")
def test_memory_is_that_of_the_model(tmp_path):
    def weigh(size: int):
        image = ops.parameter([1, 8, 12, 3], np.uint8, name="image")
        value = ops.reduce_mean(ops.convert(image, "f32"), ops.constant([0, 1, 2, 3]))
        weights = ops.constant(RANDOM.random((size, 1024, 256), np.float32))
        model = ov.Model(
            [ops.result(ops.reduce_mean(ops.multiply(weights, value), ops.constant([0, 1])))], [image], "a"
        )
        write_card(model, CARD)
        ov.save_model(model, tmp_path / f"{size}.xml", compress_to_fp16=False)
        return memory(tmp_path / f"{size}.xml", "CPU", "f32", (8, 12))

    small, large = weigh(1), weigh(65)
    assert large.model_mib - small.model_mib > 0.8 * 64
    assert large.peak_mib > large.model_mib > small.model_mib > 0


def test_systems_that_do_not_report_memory(export, monkeypatch, tmp_path):
    monkeypatch.setattr(measuring, "STATUS", tmp_path / "none")
    assert memory(export(), "CPU", "f32", (8, 12)) is None


@pytest.mark.parametrize("device", ["CPU", "AUTO"])
def test_the_machine_is_described(export, device):
    described = openvino_machine(open_subject(export(), device), "f32")
    assert described["device"] == ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    assert described["software"].split()[1] in ov.__version__
    assert described["cores"] >= 1
    assert (described["threads"] is None) == (device == "AUTO")
