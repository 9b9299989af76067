"""What training, checkpoints and decisions rely on in a detector."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import ImageSize
from anomalib_flows.models import checkpoint
from anomalib_flows.models.base import Detector, Features
from anomalib_flows.models.pipeline import Pipeline
from anomalib_flows.testing.require import require

Make = Callable[[ImageSize], Detector]
"""Makes a detector for images of a size: a small one with random weights, since many are made."""

SIZES: tuple[ImageSize, ...] = ((64, 64), (64, 96), (97, 65), (112, 112))
"""Square, oblong, odd, and one for patches of 14 pixels; a detector refuses some by ``InputError``."""

RELATIVE_ERROR = 1e-5
"""What a map may change by, as a share of its largest value, when the batch has another size."""

DEPLOYED_ERROR = 1e-4
"""What a map may change by, likewise, when the detector is deployed: products are in another order there."""


def check_detector(make: Make) -> None:
    """Run all of :data:`DETECTOR_CHECKS`.

    Args:
        make: Makes a detector for images of a size: a small one with random weights, since many are made.

    Raises:
        AssertionError: If the detector does not keep the contract; says what is wrong in one sentence.
    """
    for check in DETECTOR_CHECKS:
        check(make)


def check_shapes(make: Make) -> None:
    """Features are (B, C, h, w) and maps (B, 1, H, W) and finite, for images of any size."""
    for detector in _accepted(make):
        size = detector.image_size
        features = detector.eval().encode(_images(size, 2))
        for f in features:
            require(
                f.ndim == 4 and len(f) == 2,
                f"encode gives a feature map of {tuple(f.shape)}, not (2, C, h, w)",
            )
        maps = detector.anomaly_map(features)
        require(maps.shape == (2, 1, *size), f"anomaly_map gives {tuple(maps.shape)} for 2 images of {size}")
        require(bool(maps.isfinite().all()), f"anomaly_map gives values that are not finite for images of {size}")


def check_encoding(make: Make) -> None:
    """Encoding is frozen: repeatable, alike in training mode, without gradient, and changes nothing."""
    detector = _any(make).train()
    before, images = _state(detector), _images(detector.image_size)
    features = detector.encode(images)
    require(
        not any(f.requires_grad for f in features),
        "encode gives features with a gradient: use torch.no_grad()",
    )
    require(
        _same(features, detector.encode(images)),
        "encode gives other features of the same images when repeated",
    )
    require(
        _same(features, detector.eval().encode(images)),
        "encode gives other features after train() than after eval()",
    )
    _require_unchanged(detector, before, "encode")


def check_gradients(make: Make) -> None:
    """The loss is a finite scalar, and moves all that the optimizer holds: all that requires a gradient."""
    detector = _any(make).train()
    trained = {id(p) for group in detector.optimizer().param_groups for p in group["params"]}
    for batch in detector.training_batches(detector.encode(_images(detector.image_size))):
        loss = detector.loss(batch)
        require(loss.shape == () and bool(loss.isfinite()), f"loss gives {loss.detach()}, not a finite scalar")
        loss.backward()  # type: ignore[no-untyped-call]
    for name, p in detector.named_parameters():
        if id(p) not in trained:
            require(
                not p.requires_grad,
                f"{name} requires a gradient but is not in optimizer(): freeze it, or add it",
            )
        elif p.grad is None:
            raise AssertionError(f"{name} is in optimizer(), but the loss does not depend on it")
        else:
            require(bool(p.grad.isfinite().all()), f"the gradient of {name} is not finite")


def check_batch_count(make: Make) -> None:
    """As many training batches come as are announced."""
    detector = _any(make)
    images = _images(detector.image_size)
    batches = list(detector.training_batches(detector.encode(images)))
    stated = detector.training_batch_count(len(images))
    require(
        len(batches) == stated,
        f"training_batches yields {len(batches)}, but training_batch_count({len(images)}) says {stated}",
    )


def check_learning(make: Make) -> None:
    """Training lowers the loss."""
    detector = _any(make)
    detector.fit_statistics(iter([detector.encode(_images(detector.image_size))]))
    before = _loss(detector)
    _train(detector, epochs=5)
    after = _loss(detector)
    require(after < before, f"5 epochs on one batch of images turn the loss from {before:.6g} into {after:.6g}")


def check_direction(make: Make) -> None:
    """Where features move uphill on the loss, maps rise: higher is more anomalous."""
    detector = _any(make).eval()
    features = [f.requires_grad_() for f in detector.encode(_images(detector.image_size))]
    loss = torch.stack([detector.loss(batch) for batch in detector.training_batches(features)]).sum()
    slopes = torch.autograd.grad(loss, features, allow_unused=True, materialize_grads=True)
    ways = [0.1 * f.norm() * s / s.norm().clamp_min(1e-30) for f, s in zip(features, slopes, strict=True)]
    with torch.no_grad():
        likely, unlikely = (
            detector.anomaly_map([f + sign * w for f, w in zip(features, ways, strict=True)]).mean() for sign in (-1, 1)
        )
    require(
        bool(unlikely >= likely),
        "anomaly_map is lower where the loss is higher: higher must mean more anomalous",
    )


def check_independence(make: Make) -> None:
    """A map, and so the score, depends on its image alone: not on others in the batch nor their number."""
    _require_independence(_trained(make))


def check_inference(make: Make) -> None:
    """Computing maps changes no weight and no buffer."""
    detector = _trained(make)
    before = _state(detector)
    _map(detector, _images(detector.image_size))
    _require_unchanged(detector, before, "anomaly_map")


def check_arguments(make: Make) -> None:
    """The recorded arguments are plain, and the class can be found and built again with them."""
    detector = _any(make)
    name = f"{type(detector).__module__}.{type(detector).__qualname__}"
    try:
        arguments = json.loads(json.dumps(checkpoint.plain(detector.init_args)))
    except TypeError as error:
        raise AssertionError(f"an argument of {name} is neither number, text, list, dict nor None: {error}") from error
    top = type(detector).__qualname__.isidentifier()
    require(top, f"{name} cannot be imported again: define it at the top of its module")
    found = registry.load("models", registry.name_of("models", type(detector)))
    require(found is type(detector), f"importing {name} gives another class")
    again = found(detector.image_size, **arguments)
    require(_shapes(again) == _shapes(detector), f"the recorded arguments build a {name} with other weights")


def check_checkpoint(make: Make) -> None:
    """A trained detector that is saved and loaded gives the same maps, bit by bit."""
    detector = _trained(make)
    finite = all(bool(p.isfinite().all()) for p in detector.parameters())
    require(finite, "training makes weights that are infinite or no numbers")
    images = _images(detector.image_size)
    same = torch.equal(_map(_reloaded(detector), images), _map(detector, images))
    require(
        same,
        "a loaded checkpoint gives other maps: keep all that is learned or drawn in parameters and buffers",
    )


def check_copy(make: Make) -> None:
    """A deep copy gives the same maps, and training it leaves the original as it is."""
    detector = _trained(make)
    before, copied = _state(detector), copy.deepcopy(detector)
    images = _images(detector.image_size)
    require(torch.equal(_map(copied, images), _map(detector, images)), "a deep copy gives other maps")
    require(copied.init_args == detector.init_args, "a deep copy has other init_args")
    _train(copied, epochs=1)
    _require_unchanged(detector, before, "training a deep copy")


def check_calibration(make: Make) -> None:
    """What is set from images is set in buffers alone, the same when repeated; maps stay finite, each image's own."""
    detector = _trained(make)
    weights = {name: p.detach().clone() for name, p in detector.named_parameters()}
    _calibrate(detector)
    changed = [name for name, p in detector.named_parameters() if not torch.equal(p, weights[name])]
    require(
        not changed,
        f"fit_statistics, fit_local_scale or calibrate changes the weight {', '.join(changed[:3])}: set buffers alone",
    )
    before = _state(detector)
    _calibrate(detector)
    _require_unchanged(
        detector, before, "fit_statistics, fit_local_scale or calibrate, on the same features a second time,"
    )
    maps = _map(detector, _images(detector.image_size))
    require(
        bool(maps.isfinite().all()),
        "anomaly_map gives values that are not finite after fit_statistics, fit_local_scale and calibrate",
    )
    saved = torch.equal(_map(_reloaded(detector), _images(detector.image_size)), maps)
    require(
        saved,
        "a loaded checkpoint gives other maps after fit_statistics, fit_local_scale and calibrate: keep constants in buffers",
    )
    _require_independence(detector)


def check_deployable(make: Make) -> None:
    """What is deployed gives the same maps before and after calibration, and leaves the detector as it is."""
    detector = _trained(make)
    images = _images(detector.image_size)
    for state in ("trained", "calibrated"):
        before, maps = _state(detector), _map(detector, images)
        error = float((_map(detector.deployable(), images) - maps).abs().max() / maps.abs().max())
        require(
            error <= DEPLOYED_ERROR, f"once {state}, maps of deployable() differ by {error:.1e} of the largest value"
        )
        _require_unchanged(detector, before, "deployable")
        _calibrate(detector)


DETECTOR_CHECKS: tuple[Callable[[Make], None], ...] = (
    check_shapes,
    check_encoding,
    check_gradients,
    check_batch_count,
    check_learning,
    check_direction,
    check_independence,
    check_inference,
    check_arguments,
    check_checkpoint,
    check_copy,
    check_calibration,
    check_deployable,
)
"""Every check of a detector; each takes what makes one."""


def _accepted(make: Make) -> Iterator[Detector]:
    """Make a detector for each of the sizes that it takes."""
    refusals = []
    for size in SIZES:
        torch.manual_seed(0)
        try:
            made = make(size)
        except InputError as error:
            refusals.append(str(error))
        else:
            yield made
    require(len(refusals) < len(SIZES), f"the detector takes none of the sizes {SIZES}: {' '.join(refusals)}")


def _any(make: Make) -> Detector:
    """Make a detector for the first size that it takes."""
    return next(_accepted(make))


def _trained(make: Make) -> Detector:
    """Make a detector and train it a little: many flows begin as the identity, which hides faults."""
    detector = _any(make)
    _train(detector, epochs=3)
    return detector.eval()


def _train(detector: Detector, epochs: int) -> None:
    """Train on one batch of images, the same at every call."""
    optimizer = detector.train().optimizer()
    features = detector.encode(_images(detector.image_size))
    detector.fit_statistics(iter([features]))
    for _ in range(epochs):
        for batch in detector.training_batches(features):
            optimizer.zero_grad()
            detector.loss(batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def _calibrate(detector: Detector) -> None:
    """Set constants as before and after training: the batches come once, in turn, from inference mode."""
    images = _images(detector.image_size)
    with torch.inference_mode():
        batches = [detector.eval().encode(some) for some in (images[:3], images[3:])]
    for step in (detector.fit_statistics, detector.fit_local_scale, detector.calibrate):
        step(iter(batches))


def _reloaded(detector: Detector) -> Detector:
    """Save and load a detector."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        checkpoint.save(Pipeline(detector), file)
        return checkpoint.load(file).detector


@torch.no_grad()
def _loss(detector: Detector) -> float:
    """Mean loss of the training batches of the images trained on, cut the same way at every call."""
    torch.manual_seed(0)
    features = detector.train().encode(_images(detector.image_size))
    return torch.stack([detector.loss(batch) for batch in detector.training_batches(features)]).mean().item()


@torch.no_grad()
def _map(detector: Detector, images: Tensor) -> Tensor:
    """Anomaly maps of normalised images."""
    return detector.anomaly_map(detector.eval().encode(images))


def _images(size: ImageSize, count: int = 4, seed: int = 0) -> Tensor:
    """Draw normalised images of noise, of shape (count, 3, H, W)."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def _state(detector: Detector) -> dict[str, Tensor]:
    """Copy all weights and buffers."""
    return {name: tensor.clone() for name, tensor in detector.state_dict().items()}


def _shapes(detector: Detector) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in detector.state_dict().items()}


def _same(one: Features, other: Features) -> bool:
    """Whether feature maps are equal, bit by bit."""
    return len(one) == len(other) and all(map(torch.equal, one, other))


def _require_unchanged(detector: Detector, before: dict[str, Tensor], culprit: str) -> None:
    """Go on only if weights and buffers are as they were."""
    changed = [name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])]
    require(not changed, f"{culprit} changes {', '.join(changed[:3])}")


def _require_independence(detector: Detector) -> None:
    """Go on only if the map of an image is its own."""
    images = _images(detector.image_size)
    maps = _map(detector, images)
    others = torch.cat([images[:1], 10 * _images(detector.image_size, len(images) - 1, seed=1)])
    same = torch.equal(_map(detector, others)[0], maps[0])
    require(same, "an image's map changes with the other images of its batch")
    error = float((_map(detector, images[:1])[0] - maps[0]).abs().max() / maps[0].abs().max())
    require(
        error <= RELATIVE_ERROR,
        f"an image's map changes by {error:.1e} of its maximum when it is alone in a batch",
    )
