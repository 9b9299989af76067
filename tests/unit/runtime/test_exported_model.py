from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from PIL import Image

from anomalib_flows import runtime
from anomalib_flows.core.conformal import threshold_rank
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.runtime import DeviceOptions, ExportedModel
from anomalib_flows.runtime.network import Requests
from tiny_export import CARD, build

RANDOM = np.random.default_rng(0)
SIZES = [(6, 12), (4, 24), (64, 48), (8, 12), (50, 50)]
IMAGES = [RANDOM.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in SIZES]
IMAGES += [image // 8 * factor for image, factor in zip(IMAGES, (1, 2, 4, 5, 6), strict=True)]  # from dark to bright


def raw_map(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What the model of these tests computes: mean of colours of the nearest pixels, from 0 to 1."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, image.shape[:2], strict=True))
    return image[rows][:, columns].mean(2) / 255


def raw_score(image: np.ndarray, size: tuple[int, int]) -> float:
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, image.shape[:2], strict=True))
    return raw_map(image, size).max() + image[rows][:, columns, 0].mean() / 2550


def normalise(values, typical: float, threshold: float):
    return np.clip(0.5 * (values - typical) / (threshold - typical), 0, 1)


def same(one, other) -> bool:
    """Whether two results are equal, apart from the files that the images came from."""
    return all(np.array_equal(vars(one)[key], vars(other)[key]) for key in vars(one) if key != "sample")


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("batch", [1, -1])
def test_results_are_what_the_model_computes(export, card, layout, channels, batch):
    model = ExportedModel(export(batch=batch, input_layout=layout, channels=channels))
    for image in IMAGES:
        result = model(image)
        raw, map01 = raw_score(image, (8, 12)), normalise(raw_map(image, (8, 12)), 0.25, 0.75)
        np.testing.assert_allclose(result.anomaly_map, map01, atol=1e-6)
        np.testing.assert_allclose([result.raw_score, result.score], [raw, normalise(raw, 0.2, 0.8)], atol=1e-6)
        assert result.label == (raw > 0.8)
        assert result.p_value == (1 + sum(s >= raw for s in card.calibration_scores)) / 5
        np.testing.assert_array_equal(result.mask, result.anomaly_map > 0.5)
        assert result.mask.dtype == bool
        assert result.anomaly_map.shape == (8, 12)


def test_padding_is_cut_off(export):
    model = ExportedModel(export(resize="pad"))
    assert [model(image).mask.shape for image in IMAGES[:2]] == [(6, 12), (2, 12)]
    map01 = normalise(raw_map(IMAGES[1], (2, 12)), 0.25, 0.75)
    np.testing.assert_allclose(model(IMAGES[1]).anomaly_map, map01, atol=1e-6)


def test_paths_pictures_and_arrays_are_the_same_image(export, tmp_path):
    model, image = ExportedModel(str(export())), IMAGES[2]
    Image.fromarray(image).save(tmp_path / "a.png")
    turned = Image.fromarray(np.rot90(image, -1))
    exif = turned.getexif()
    exif[0x0112] = 8
    turned.save(tmp_path / "turned.png", exif=exif)
    expected = model(image)
    given = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image), tmp_path / "turned.png"]
    given += [Image.open(tmp_path / "turned.png"), np.asfortranarray(image), np.rot90(np.rot90(image, 1), -1)]
    assert all(same(expected, model(one)) for one in given)
    grey = image[..., 0]
    assert same(model(grey), model(np.stack([grey] * 3, axis=2)))


def test_results_contain_the_picture_and_the_file(export, tmp_path):
    model = ExportedModel(export(channels="BGR"))
    Image.fromarray(IMAGES[2]).save(tmp_path / "a.png")
    result = model(str(tmp_path / "a.png"))
    assert result.sample == Sample(tmp_path / "a.png", "test")
    np.testing.assert_array_equal(result.picture, IMAGES[2])
    for image in (IMAGES[2], Image.fromarray(IMAGES[2])):
        result = model(image)
        assert result.sample is None
        np.testing.assert_array_equal(result.picture, IMAGES[2])


def test_old_names_say_the_new_ones():
    with pytest.raises(AttributeError, match="runtime.Detector is now anomalib_flows.runtime.ExportedModel"):
        _ = runtime.Detector
    with pytest.raises(AttributeError, match="ImageResult"):
        _ = runtime.Prediction
    assert not hasattr(runtime, "unknown")


def test_arrays_of_results_do_not_change_later(export):
    model = ExportedModel(export())
    first = model(IMAGES[0])
    kept = first.anomaly_map.copy(), first.mask.copy()
    for image in IMAGES:
        model(255 - image)
    np.testing.assert_array_equal(first.anomaly_map, kept[0])
    np.testing.assert_array_equal(first.mask, kept[1])


@pytest.mark.parametrize("requests", [None, 1, 3])
def test_batches_and_streams_are_what_single_images_are(export, requests):
    model = ExportedModel(export(), requests=requests)
    images = IMAGES * 5
    each = [model(image) for image in images]
    assert all(map(same, model.batch(images), each))
    assert all(map(same, model.stream(iter(images)), each))
    assert model.batch([]) == []
    with ThreadPoolExecutor(4) as pool:
        assert all(map(same, pool.map(model, images), each))


@pytest.mark.parametrize("requests", [1, 4])
def test_stream_takes_no_more_images_than_it_has_requests(export, requests):
    taken = []

    def endless():
        for number in count():
            taken.append(number)
            yield IMAGES[number % len(IMAGES)]

    model = ExportedModel(export(), requests=requests)
    for done, result in enumerate(islice(model.stream(endless()), 10), start=1):
        assert same(result, model(IMAGES[(done - 1) % len(IMAGES)]))
        assert done <= len(taken) <= done + requests - 1


@pytest.mark.parametrize("error", [OSError("the camera is gone"), InputError("no")])
def test_errors_of_the_source_come_after_what_came_before(export, error):
    def source():
        yield from IMAGES[:3]
        raise error

    got = []
    model = ExportedModel(export(), requests=4)
    with pytest.raises(type(error), match=str(error)):
        got.extend(model.stream(source()))
    assert len(got) == 3
    assert same(model(IMAGES[0]), got[0])


@pytest.fixture
def choosy(tmp_path):
    """A model that takes images of any size, and fails while it computes on all that are not 8 x 12."""
    model = build(CARD)
    score = next(result for result in model.get_results() if "raw_score" in result.output(0).get_names())
    fixed = ops.reshape(model.get_parameters()[0], ops.constant([1, 8, 12, 3]), False)
    nothing = ops.multiply(ops.reduce_mean(ops.convert(fixed, "f32"), ops.constant([1, 2, 3])), np.float32(0))
    summed = ops.add(score.input_value(0), nothing)
    score.input_value(0).get_tensor().set_names(set())
    summed.output(0).set_names({"raw_score"})
    score.input(0).replace_source_output(summed.output(0))
    ov.save_model(model, tmp_path / "choosy.xml", compress_to_fp16=False)
    return tmp_path / "choosy.xml"


@pytest.mark.parametrize("requests", [1, 2, 4])
def test_images_that_the_device_fails_on_end_a_stream_in_their_turn(choosy, export, requests):
    good = [RANDOM.integers(0, 256, (8, 12, 3), dtype=np.uint8) for _ in range(8)]
    model, got = ExportedModel(choosy, requests=requests), []
    with pytest.raises(InputError, match=r"choosy.xml fails on CPU \(.*reshape.*\): choose another device or") as error:
        got.extend(model.stream([*good[:5], IMAGES[0], *good[5:]]))
    assert "\n" not in str(error.value)
    expected = ExportedModel(export()).batch(good)
    assert len(got) == 5
    assert all(map(same, got, expected))
    assert all(map(same, model.batch(good), expected))


def test_images_behind_one_that_the_device_fails_on_are_not_predicted_from_what_it_left(choosy):
    compiled = ov.Core().compile_model(choosy, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    requests = Requests(compiled, choosy, "CPU")
    started = [requests.start(np.zeros((1, *size, 3), np.uint8)) for size in [(8, 12), (6, 12), (8, 12)]]
    requests.wait(started[0])
    assert not requests.failed
    with pytest.raises(InputError, match="choosy.xml fails on CPU"):
        requests.wait(started[1])
    with pytest.raises(InputError, match="choosy.xml failed on another image in the meantime: predict this one again"):
        requests.wait(started[2])


def test_images_behind_an_abandoned_one_that_the_device_fails_on_are_not_predicted_from_what_it_left(choosy):
    requests = Requests(ov.Core().compile_model(choosy, "CPU", {"PERFORMANCE_HINT": "LATENCY"}), choosy, "CPU")
    _, good = [requests.start(np.zeros((1, *size, 3), np.uint8)) for size in [(6, 12), (8, 12)]]
    with pytest.raises(InputError, match="choosy.xml failed on another image in the meantime: predict this one again"):
        requests.wait(good)
    assert requests.failed


@pytest.mark.parametrize("requests", [2, 4])
def test_what_an_abandoned_stream_left_under_way_does_not_count(choosy, export, requests):
    good = [RANDOM.integers(0, 256, (8, 12, 3), dtype=np.uint8) for _ in range(4)]
    model, expected = ExportedModel(choosy, requests=requests), ExportedModel(export()).batch(good)
    for _ in range(5):
        stream = model.stream([good[0]] + [IMAGES[0]] * (requests - 1))
        assert same(next(stream), expected[0])
        stream.close()
        assert all(map(same, model.batch(good), expected))


def test_threads_never_get_what_the_failure_of_another_left(choosy, export):
    good = [RANDOM.integers(0, 256, (8, 12, 3), dtype=np.uint8) for _ in range(4)]
    model, expected = ExportedModel(choosy), ExportedModel(export()).batch(good)

    def predict(number):
        if number % 10 == 9:
            with pytest.raises(InputError, match="fails on CPU|failed on another image"):
                model(IMAGES[0])
            return True
        try:
            return same(model(good[number % 4]), expected[number % 4])
        except InputError as error:
            return "failed on another image in the meantime" in str(error)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(predict, range(60)))


def test_damaged_image_in_a_stream_is_named(export, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="bad.png is not an image"):
        ExportedModel(export()).batch([IMAGES[0], tmp_path / "bad.png"])


def test_stream_that_is_left_early_leaves_the_model_usable(export):
    model = ExportedModel(export(), requests=3)
    stream = model.stream(iter(IMAGES * 3))
    first = next(stream)
    stream.close()
    assert same(first, model(IMAGES[0]))
    assert len(model.batch(IMAGES)) == len(IMAGES)


@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 0.9, 0.9999])
def test_threshold(export, threshold):
    model = ExportedModel(export(), threshold=threshold)
    for image in IMAGES:
        result = model(image)
        assert result.label == (result.score > threshold)
        np.testing.assert_array_equal(result.mask, result.anomaly_map > np.float32(threshold))


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.5, 0.79, 0.99])
def test_false_alarm_rate_is_that_of_split_conformal_thresholds(export, card, rate):
    model, place = ExportedModel(export(), false_alarm_rate=rate), threshold_rank(4, rate)
    level = sorted(card.calibration_maxima)[-place]
    for image in IMAGES:
        result = model(image)
        assert result.label == (result.p_value <= rate)
        assert result.label == (result.raw_score > np.float32(sorted(card.calibration_scores)[-place]))
        np.testing.assert_array_equal(result.mask, result.anomaly_map > normalise(level, 0.25, 0.75))


def test_rate_that_the_model_was_exported_with_changes_nothing(export):
    model = export()
    for one, other in zip(
        ExportedModel(model).batch(IMAGES), ExportedModel(model, false_alarm_rate=0.2).batch(IMAGES), strict=True
    ):
        assert same(one, other)


def test_rate_that_takes_more_images_is_warned_of(export):
    with pytest.warns(UserWarning, match="Too few calibration images .* takes 99: there are 4"):
        model = ExportedModel(export(), false_alarm_rate=0.01)
    white, black = (np.full((8, 12, 3), level, np.uint8) for level in (255, 0))
    assert (model(white).label, model(black).label) == (1, 0)
    assert (model(white).mask.all(), model(black).mask.any()) == (True, False)


@pytest.mark.parametrize(
    ("thresholds", "rate", "said", "marked"),
    [
        # Calibrated to many false alarms, and asked for few: the map is 1 above 0.55, and 0.75 is wanted.
        (
            {"image_threshold": 0.4, "pixel_threshold": 0.4},
            0.2,
            "is 1.67: masks show pixels where maps reach 1, too many",
            0.55,
        ),
        # The quietest calibration image lies below what is typical of pixels.
        ({"typical": 0.35, "score_typical": 0.35}, 0.8, "is -0.0625: masks show all pixels above 0, too few", 0.35),
    ],
)
def test_rate_whose_pixel_threshold_maps_do_not_reach_is_warned_of(export, thresholds, rate, said, marked):
    with pytest.warns(UserWarning, match=said) as warned:
        model = ExportedModel(export(**thresholds), false_alarm_rate=rate)
    assert "model.xml range from 0 to 1" in str(warned[0].message)
    assert warned[0].filename == __file__
    for image in IMAGES:
        result = model(image)
        assert result.label == (result.p_value <= rate)
        np.testing.assert_array_equal(result.mask, raw_map(image, (8, 12)) > marked)
    white, black = (model(np.full((8, 12, 3), level, np.uint8)) for level in (255, 0))
    assert (white.label, black.label) == (1, 0)
    assert (white.mask.all(), black.mask.any()) == (True, False)


def test_rates_of_a_model_whose_maps_are_all_the_same(export):
    file = export(typical=0.75, calibration_maxima=(0.75,) * 4)
    white, black = (np.full((8, 12, 3), level, np.uint8) for level in (255, 0))
    for model in (ExportedModel(file), ExportedModel(file, false_alarm_rate=0.4)):
        assert (model(white).label, model(black).label) == (1, 0)


def test_precision_is_what_the_model_asks_for(export):
    assert ExportedModel(export()).precision == "f32"
    assert ExportedModel(export(inference_precision="f16")).precision == "f16"
    assert ExportedModel(export(), DeviceOptions(precision="bf16")).precision == "bf16"


def test_devices_without_float32_compute_in_float16(export, monkeypatch):
    class Accelerator(ov.Core):
        """A core with a GPU that computes in f16 alone; the CPU stands in for it."""

        available_devices = ("CPU", "GPU.0", "GPU.1")

        def compile_model(self, model, device, options):
            assert device.startswith("GPU")
            if options["INFERENCE_PRECISION_HINT"] != "f16":
                raise RuntimeError("Exception from plugin:\nf32 is not supported\n")
            return super().compile_model(model, "CPU", options)

    monkeypatch.setattr(ov, "Core", Accelerator)
    for device in ("gpu", "GPU.1"):
        model = ExportedModel(export(), device)
        assert (model.precision, model.device) == ("f16", device.upper())
    with pytest.raises(InputError, match=r"model.xml cannot be compiled for GPU in f32 \(f32 is not supported\)"):
        ExportedModel(export(), DeviceOptions("GPU", precision="f32"))
    with pytest.raises(InputError, match="GPU.2 is not available: choose one of CPU, GPU.0, GPU.1"):
        ExportedModel(export(), "GPU.2")


@pytest.mark.parametrize("device", ["cpu", "AUTO", "auto:cpu"])
def test_devices_of_this_machine(export, device):
    model = ExportedModel(export(), device)
    assert model.device == device.upper()
    assert same(model(IMAGES[0]), ExportedModel(export())(IMAGES[0]))


def test_compiled_models_are_kept_and_a_new_export_is_not_taken_for_them(export, tmp_path):
    cache, image = tmp_path / "cache", IMAGES[0]
    first = ExportedModel(export(), DeviceOptions(cache_dir=cache))(image)
    kept = set(cache.rglob("*.blob"))
    assert kept
    assert same(first, ExportedModel(export(), DeviceOptions(cache_dir=cache))(image))
    assert set(cache.rglob("*.blob")) == kept
    other = ExportedModel(export(image_threshold=0.5, pixel_threshold=0.4), DeviceOptions(cache_dir=cache))(image)
    assert other.score == pytest.approx(normalise(first.raw_score, 0.2, 0.5))


def test_cache_that_cannot_be_written_is_said(export, tmp_path):
    (tmp_path / "file").touch()
    for cache in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(InputError, match=rf"`cache_dir` {cache} is not writable \(.*\): choose another folder"):
            ExportedModel(export(), DeviceOptions(cache_dir=cache))
    if Path("/proc/version").exists():
        with pytest.raises(InputError, match="`cache_dir` /proc is not writable"):
            ExportedModel(export(), DeviceOptions(cache_dir=Path("/proc")))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_images_of_three_columns(export, layout):
    image = RANDOM.integers(0, 256, (8, 3, 3), dtype=np.uint8)
    expected = ExportedModel(export("any.xml"))(image)
    assert same(ExportedModel(export("fixed.xml", size=(8, 3), input_layout=layout))(image), expected)


def test_image_of_another_size_than_a_fixed_one_is_named(export, tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png")):
        with pytest.raises(InputError, match="a.png is 6 x 12 pixels high and wide, but the model accepts 8 x 12"):
            ExportedModel(export(size=(8, 12))).batch([IMAGES[3], given])


def test_image_of_another_size_than_a_fixed_one_is_refused(export):
    model = ExportedModel(export(size=(8, 12)))
    assert model(IMAGES[3]).mask.shape == (8, 12)
    with pytest.raises(InputError, match="image is 6 x 12 pixels high and wide, but the model accepts 8 x 12"):
        model(IMAGES[0])
    with pytest.raises(InputError, match="the model accepts any x 12"):
        ExportedModel(export(size=(-1, 12), input_layout="NCHW"))(IMAGES[1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "cannot be of float32: give values from 0 to 255 as uint8"),
        (np.full((4, 4, 3), np.nan), "cannot be of float64"),
        (np.zeros((4, 4), np.uint16), "cannot be of uint16"),
        (np.zeros((4, 4, 4), np.uint8), r"cannot have the shape \(4, 4, 4\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 0), np.uint8), "shape"),
        ([[1]], "cannot be a list"),
        (None, "cannot be a NoneType"),
        ("missing.png", "missing.png does not exist"),
    ],
)
def test_invalid_images_are_refused(export, image, message):
    with pytest.raises(InputError, match=message):
        ExportedModel(export())(image)


def test_truncated_pictures_are_refused(export, tmp_path):
    noise = Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in ("png", "jpg"):
        noise.save(tmp_path / f"a.{suffix}")
        content = (tmp_path / f"a.{suffix}").read_bytes()
        (tmp_path / f"a.{suffix}").write_bytes(content[: len(content) // 2])
        with Image.open(tmp_path / f"a.{suffix}") as picture, pytest.raises(InputError, match="image is damaged"):
            ExportedModel(export())(picture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.5, "false_alarm_rate": 0.1}, "not both"),
        ({"threshold": 0.99999999}, "`threshold` cannot be 0.99999999: it must be at least 0 and below 1"),
        ({"threshold": 1e300}, "`threshold` cannot be 1e\\+300: it must be at least 0 and below 1"),
        ({"threshold": 1}, "`threshold` cannot be 1: it must be at least 0 and below 1, the range of scores and maps"),
        ({"threshold": 1.1}, "`threshold` cannot be 1.1"),
        ({"threshold": float("nan")}, "`threshold` cannot be nan"),
        ({"false_alarm_rate": 0.0}, "cannot be 0.0"),
        ({"requests": 0}, "`requests` cannot be 0"),
        ({"device": "GPU"}, "GPU is not available: choose one of CPU"),
        ({"device": "AUTO:NPU,CPU"}, "NPU is not available"),
        ({"device": "toaster"}, "TOASTER is not available"),
        ({"device": DeviceOptions(precision="f64")}, "cannot be compiled for CPU in f64"),
    ],
)
def test_invalid_arguments_are_refused(export, options, message):
    with pytest.raises(InputError, match=message):
        ExportedModel(export(), **options)


@pytest.mark.parametrize("interface", ["model-api", "anomalib"])
def test_models_for_other_programs_are_refused(export, interface):
    with pytest.raises(InputError, match=f"model.xml has the interface {interface}, for other programs"):
        ExportedModel(export(interface=interface))


def test_models_for_batches_of_a_fixed_size_are_refused(export):
    with pytest.raises(InputError, match="accepts batches of 4 images only"):
        ExportedModel(export(batch=4))


def test_false_alarm_rate_needs_calibration_scores(export):
    model = export(calibration_scores=(), calibration_maxima=())
    assert ExportedModel(model)(IMAGES[0]).p_value == 1
    with pytest.raises(InputError, match="has no calibration scores"):
        ExportedModel(model, false_alarm_rate=0.1)


def test_damaged_files_are_refused(export, tmp_path):
    model = export()
    weights, text = model.with_suffix(".bin").read_bytes(), model.read_text()

    def fault(name: str, content: str | None, kept: bytes | None) -> str:
        if content is not None:
            (tmp_path / f"{name}.xml").write_text(content)
        if kept is not None:
            (tmp_path / f"{name}.bin").write_bytes(kept)
        with pytest.raises(InputError) as error:
            ExportedModel(tmp_path / f"{name}.xml")
        assert "\n" not in str(error.value)
        assert name in str(error.value)
        return str(error.value)

    assert "missing.xml does not exist" in fault("missing", None, None)
    (tmp_path / "folder.xml").mkdir()
    assert "folder.xml is a folder" in fault("folder", None, None)
    assert "bare.bin is missing" in fault("bare", text, None)
    assert "is damaged (Incorrect weights in bin file)" in fault("short", text, weights[:-8])
    assert "is damaged" in fault("empty", text, b"")
    assert "is damaged" in fault("cut", text[: len(text) // 2], weights)
    assert "is not an OpenVINO model" in fault("words", "hello", weights)
    assert "is not an OpenVINO model" in fault("markup", "<?xml version='1.0'?><a/>", weights)
    assert "is not an OpenVINO model" in fault("nothing", "", weights)


def test_models_of_other_programs_are_refused(tmp_path):
    parameter = ov.opset13.parameter([1, 3, 4, 4], np.float32)
    ov.save_model(ov.Model([ov.opset13.result(parameter)], [parameter]), tmp_path / "other.xml")
    (tmp_path / "other.bin").touch()
    with pytest.raises(InputError, match="other.xml was not exported by anomalib-flows"):
        ExportedModel(tmp_path / "other.xml")
