"""Each check passes what is right and finds the fault that it is there for."""

import copy
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
from PIL import Image
from torch import nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Sample
from anomalib_flows.data.datasets.base import Dataset
from anomalib_flows.flows import Bijection, Permutation
from anomalib_flows.models.base import Detector
from anomalib_flows.testing import DETECTOR_CHECKS, check_bijection, check_dataset, check_detector
from anomalib_flows.testing.trials import SIZES


class Mean(Detector):
    """The distance of pixels from their mean over the training images, learned as a flow's offset."""

    def __init__(self, image_size, scale=1.0):
        super().__init__()
        self.frozen = nn.Conv2d(3, 2, 1).requires_grad_(False)
        self.offset = nn.Parameter(torch.zeros(2, *image_size))
        self.scale = scale

    @torch.no_grad()
    def encode(self, images):
        return [self.frozen(images)]

    def loss(self, batch):
        return self.anomaly_map(batch).mean()

    def anomaly_map(self, features):
        return self.scale * (features[0] - self.offset).square().sum(1, keepdim=True)


class SmallMap(Mean):
    def anomaly_map(self, features):
        return super().anomaly_map(features)[..., ::2, ::2]


class InfiniteMap(Mean):
    def anomaly_map(self, features):
        return super().anomaly_map(features) / 0


class FlatFeatures(Mean):
    def encode(self, images):
        return [f.flatten(2) for f in super().encode(images)]


class TrainedEncoder(Mean):
    def encode(self, images):
        return [self.frozen(images) + self.offset]


class RandomEncoder(Mean):
    def encode(self, images):
        return [f + torch.rand(()) for f in super().encode(images)]


class NormInEncoder(Mean):
    def __init__(self, image_size):
        super().__init__(image_size)
        self.norm = nn.BatchNorm2d(2).requires_grad_(False)

    @torch.no_grad()
    def encode(self, images):
        return [self.norm(f) for f in super().encode(images)]


class CountingEncoder(Mean):
    def __init__(self, image_size):
        super().__init__(image_size)
        self.register_buffer("calls", torch.zeros(()))

    def encode(self, images):
        self.calls += 1
        return super().encode(images)


class LossPerImage(Mean):
    def loss(self, batch):
        return self.anomaly_map(batch).mean((1, 2, 3))


class NoNumberLoss(Mean):
    def loss(self, batch):
        return super().loss(batch) * torch.nan


class UnusedWeight(Mean):
    def __init__(self, image_size):
        super().__init__(image_size)
        self.unused = nn.Parameter(torch.zeros(1))


class ForgottenWeight(Mean):
    def __init__(self, image_size):
        super().__init__(image_size)
        self.forgotten = nn.Parameter(torch.zeros(1))

    def optimizer(self):
        return torch.optim.Adam([self.offset])


class InfiniteGradient(Mean):
    def loss(self, batch):
        return super().loss(batch) + (self.offset - self.offset).sqrt().sum()


class WrongCount(Mean):
    def training_batch_count(self, images):
        return 2


class UphillOptimizer(Mean):
    def optimizer(self):
        return torch.optim.SGD([self.offset], lr=1.0, maximize=True)


class WrongSign(Mean):
    def loss(self, batch):
        return -super().loss(batch)

    def anomaly_map(self, features):
        return -super().anomaly_map(features)


class SummedLoss(Mean):
    def loss(self, batch):
        return self.anomaly_map(batch).mean((1, 2, 3)).sum()


class BatchMaximum(Mean):
    def anomaly_map(self, features):
        maps = super().anomaly_map(features)
        return maps / maps.max()


class BatchSize(Mean):
    def anomaly_map(self, features):
        return super().anomaly_map(features) * len(features[0])


class Calibrated(Mean):
    """One that stretches its maps by what it finds on held-out images."""

    def __init__(self, image_size):
        super().__init__(image_size)
        self.register_buffer("unit", torch.ones(()))

    @torch.no_grad()
    def calibrate(self, features):
        self.unit = torch.stack([Mean.anomaly_map(self, batch).max() for batch in features]).max()

    def anomaly_map(self, features):
        return super().anomaly_map(features) / self.unit


class CalibratesWeights(Calibrated):
    @torch.no_grad()
    def calibrate(self, features):
        self.offset += torch.cat([f for (f,) in features]).mean(0)


class RandomCalibration(Calibrated):
    def calibrate(self, features):
        super().calibrate(features)
        self.unit *= 1 + torch.rand(())


class UnendingCalibration(Calibrated):
    def calibrate(self, features):
        before = self.unit
        super().calibrate(features)
        self.unit = self.unit + before


class EmptyCalibration(Calibrated):
    def calibrate(self, features):
        self.unit = torch.zeros(())


class UnsavedCalibration(Calibrated):
    def calibrate(self, features):
        super().calibrate(features)
        self.found, self.unit = self.unit, torch.ones(())

    def anomaly_map(self, features):
        return super().anomaly_map(features) / getattr(self, "found", 1)


class CalibrationByBatch(Calibrated):
    def anomaly_map(self, features):
        maps = super().anomaly_map(features)
        return maps - (self.unit != 1) * maps.mean()


class CountingMap(CountingEncoder):
    encode = Mean.encode

    def anomaly_map(self, features):
        self.calls += not torch.is_grad_enabled()
        return super().anomaly_map(features)


class ObjectArgument(Mean):
    def __init__(self, image_size, norm=nn.Identity()):  # noqa: B008
        super().__init__(image_size)


class OtherWhenRebuilt(Mean):
    def __init__(self, image_size, layers=(1, 2)):
        super().__init__(image_size)
        self.extra = nn.Buffer(torch.zeros(len(layers) if isinstance(layers, tuple) else 1))


class UnsavedState(Mean):
    def __init__(self, image_size):
        super().__init__(image_size)
        self.drawn = torch.rand(2, 1, 1)

    def anomaly_map(self, features):
        return super().anomaly_map([f + self.drawn for f in features])


class DeployedUncalibrated(Mean):
    """One that forgets, when it is deployed, what calibration has set."""

    def __init__(self, image_size):
        super().__init__(image_size)
        self.register_buffer("level", torch.zeros(()))

    def calibrate(self, features):
        self.level.fill_(1.0)

    def anomaly_map(self, features):
        return super().anomaly_map(features) + self.level

    def deployable(self):
        leaner = Mean(self.image_size)
        leaner.load_state_dict(self.state_dict(), strict=False)
        return leaner


class DeployedInPlace(Mean):
    """One that is folded itself, and not a copy of it."""

    @torch.no_grad()
    def deployable(self):
        leaner = copy.deepcopy(self)
        self.offset.zero_()
        return leaner


class SharedWeights(Mean):
    def __deepcopy__(self, memo):
        return self


def local():
    class Local(Mean):
        pass

    return Local


@pytest.mark.parametrize("detector", [Mean, Calibrated])
def test_a_sound_detector_passes(detector):
    check_detector(detector)


FAULTS = {
    SmallMap: "anomaly_map gives",
    InfiniteMap: "not finite for images of",
    FlatFeatures: "encode gives a feature map of",
    TrainedEncoder: "with a gradient",
    RandomEncoder: "when repeated",
    NormInEncoder: "after train",
    CountingEncoder: "encode changes calls",
    LossPerImage: "not a finite scalar",
    NoNumberLoss: "not a finite scalar",
    UnusedWeight: "unused is in optimizer",
    ForgottenWeight: "forgotten requires a gradient",
    InfiniteGradient: "the gradient of offset is not finite",
    WrongCount: "training_batch_count",
    UphillOptimizer: "5 epochs on one batch",
    WrongSign: "higher must mean more anomalous",
    BatchMaximum: "with the other images",
    BatchSize: "when it is alone",
    CalibratesWeights: "calibrate changes the weight offset",
    RandomCalibration: "a second time, changes unit",
    UnendingCalibration: "a second time, changes unit",
    EmptyCalibration: "not finite after fit_statistics, fit_local_scale or calibrate",
    UnsavedCalibration: "calibrate: keep constants",
    CalibrationByBatch: "with the other images",
    CountingMap: "anomaly_map changes calls",
    ObjectArgument: "neither number",
    OtherWhenRebuilt: "with other weights",
    local(): "at the top of its module",
    UnsavedState: "parameters and buffers",
    SharedWeights: "training a deep copy changes offset",
    SummedLoss: "and the batch has .*: return a mean over the batch, or override part",
    DeployedUncalibrated: "once calibrated, maps of deployable",
    DeployedInPlace: "deployable changes offset",
}


@pytest.mark.parametrize(("detector", "message"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_of_a_detector_is_found_and_said(detector, message):
    with pytest.raises(AssertionError, match=message):
        check_detector(detector)


def test_sizes_that_are_refused_are_left_out():
    def make(size):
        if size != SIZES[-1]:
            raise InputError(f"Not {size}.")
        return Mean(size)

    check_detector(make)
    with pytest.raises(AssertionError, match="takes none of the sizes"):
        check_detector(lambda size: make((1, *size)))


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_every_check_of_a_detector_finds_a_fault(check):
    def found(fault):
        try:
            check(fault)
        except AssertionError:
            return True
        return False

    assert any(found(fault) for fault in FAULTS)


@dataclass(kw_only=True)
class Listed(Dataset):
    """The samples that the test lists."""

    listed: ClassVar[list[Sample]]
    subset: str = "part"

    def samples(self):
        return list(self.listed)


class NoDataclass(Listed):
    pass


@dataclass(kw_only=True)
class ObjectOption(Listed):
    option: object = field(default_factory=object)


@dataclass(kw_only=True)
class Alternating(Listed):
    def samples(self):
        self.calls = getattr(self, "calls", 0) + 1
        return super().samples()[: 4 - self.calls % 2]


@dataclass(kw_only=True)
class Remembering(Listed):
    def samples(self):
        return super().samples()[: getattr(self, "count", 4)]


@pytest.fixture
def samples(tmp_path, monkeypatch):
    """Two images to train on, a good one and a defective one with its mask to test on."""
    for name in ("1", "2", "3", "4", "mask"):
        Image.new("L", (8, 6), 255).save(tmp_path / f"{name}.png")
    Image.new("L", (9, 9)).save(tmp_path / "large.png")
    train = [Sample(tmp_path / f"{i}.png", "train") for i in (1, 2)]
    defective = Sample(tmp_path / "4.png", "test", 1, "cut", tmp_path / "mask.png")
    monkeypatch.setattr(Listed, "listed", [*train, Sample(tmp_path / "3.png", "test"), defective], raising=False)
    return Listed.listed


def test_a_sound_dataset_passes(samples):
    check_dataset(Listed())
    samples[:] = samples[:1]
    check_dataset(Listed())


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, {"path": "1.png"}, "more than once"),
        (1, {"path": "5.png"}, "not sorted"),
        (3, {"path": "5.png"}, "do not exist"),
        (3, {"mask": "5.png"}, "do not exist"),
        (3, {"mask": "large.png"}, "cannot be used: .*large.png is 9 x 9"),
        (2, {"mask": "mask.png"}, "is normal and has a mask"),
        (2, {"defect": "cut"}, "has label 0 and defect 'cut'"),
        (3, {"defect": "good"}, "has label 1 and defect 'good'"),
        (3, {"defect": "a/b"}, "'a/b' cannot name a folder"),
        (3, {"label": 2}, "label 2: 0 or 1"),
        (1, {"label": 1, "defect": "cut"}, "in the split train"),
        (2, {"split": "tset"}, "of split 'tset'"),
        (3, {"split": "calibration"}, "in the split calibration"),
    ],
)
def test_a_fault_of_a_sample_is_found_and_said(samples, tmp_path, position, change, message):
    change = {key: tmp_path / value if key in ("path", "mask") else value for key, value in change.items()}
    samples[position] = replace(samples[position], **change)
    with pytest.raises(AssertionError, match=message):
        check_dataset(Listed())


def test_a_dataset_without_training_images_is_refused(samples):
    del samples[:2]
    with pytest.raises(AssertionError, match="nothing of the split train"):
        check_dataset(Listed())


def test_a_file_that_is_no_image_is_refused(samples):
    samples[0].path.write_bytes(b"text")
    with pytest.raises(AssertionError, match=r"cannot be used: .*1\.png is not an image"):
        check_dataset(Listed())


@pytest.mark.parametrize("subset", ["", ".", "..", "a/b", "a\\b", "a:b", "a ", "a\n"])
def test_a_name_that_is_no_folder_is_refused(samples, subset):
    with pytest.raises(AssertionError, match="cannot name a folder"):
        check_dataset(Listed(subset=subset))


def test_faults_of_options_are_found_and_said(samples):
    with pytest.raises(AssertionError, match="NoDataclass is not a dataclass"):
        check_dataset(NoDataclass())
    with pytest.raises(AssertionError, match="option option is neither number"):
        check_dataset(ObjectOption())
    with pytest.raises(AssertionError, match="at the second call"):
        check_dataset(Alternating())
    remembering = Remembering()
    remembering.count = 3
    with pytest.raises(AssertionError, match="the same options"):
        check_dataset(remembering)


class Scale(Bijection):
    """z = 2 x."""

    def forward(self, x):
        return 2 * x, math.log(2) * x[0].numel() * torch.ones(len(x))

    def inverse(self, z):
        return z / 2, -math.log(2) * z[0].numel() * torch.ones(len(z))


class WrongInverse(Scale):
    def inverse(self, z):
        return z, super().inverse(z)[1]


class WrongLogDet(Scale):
    def forward(self, x):
        return 2 * x, math.log(2) * len(x[0]) * torch.ones(len(x))


class WrongInverseLogDet(Scale):
    def inverse(self, z):
        return super().inverse(z)[0], -super().inverse(z)[1]


class OneLogDet(Scale):
    def forward(self, x):
        return 2 * x, super().forward(x)[1].sum()


def test_a_sound_flow_passes():
    check_bijection(Scale(), (3, 2, 2))
    check_bijection(Permutation(3), (3, 2, 2))


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (WrongInverse, "inverse does not undo forward"),
        (WrongLogDet, "of the Jacobians"),
        (WrongInverseLogDet, "not minus that of forward"),
        (OneLogDet, "has shape"),
    ],
)
def test_a_fault_of_a_flow_is_found_and_said(flow, message):
    with pytest.raises(AssertionError, match=message):
        check_bijection(flow(), (3, 2, 2))
