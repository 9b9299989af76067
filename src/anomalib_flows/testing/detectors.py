"""The checks of a detector, which training, checkpoints and decisions rely on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import torch

from anomalib_flows.core import registry
from anomalib_flows.models.base import Detector
from anomalib_flows.run.validation import plain
from anomalib_flows.testing.trials import (
    Make,
    accepted,
    ensure,
    ensure_unchanged,
    equal_features,
    first_accepted,
    maps_of,
    mean_loss,
    noise_images,
    relative_difference,
    reloaded,
    set_constants_of,
    state_of,
    train_briefly,
    trained,
)

BATCH_ERROR = 1e-5
"""Largest change of a map in a batch of another size, relative to its largest value."""

PARTS_ERROR = 1e-4
"""Largest change of a loss when a batch is divided, likewise."""

DEPLOYED_ERROR = 1e-4
"""Largest change of a map when the detector is deployed, likewise: products are computed in another order."""


def check_detector(make: Make) -> None:
    """Run all of :data:`DETECTOR_CHECKS`.

    Args:
        make: Makes a detector for images of a size: a small one with random weights, since many are made.

    Raises:
        AssertionError: If the detector does not keep the contract; says in one sentence what is wrong.
    """
    for check in DETECTOR_CHECKS:
        check(make)


def check_shapes(make: Make) -> None:
    """Check that features are (B, C, h, w) and maps (B, 1 or 2, H, W) and finite, for images of any size."""
    for detector in accepted(make):
        size = detector.image_size
        features = detector.eval().encode(noise_images(size, 2))
        for f in features:
            ensure(f.ndim == 4 and len(f) == 2, f"encode gives a feature map of {tuple(f.shape)}, not (2, C, h, w)")
        maps = detector.anomaly_map(features)
        fits = maps.shape in ((2, 1, *size), (2, 2, *size))
        ensure(fits, f"anomaly_map gives {tuple(maps.shape)} for 2 images of {size}")
        ensure(bool(maps.isfinite().all()), f"anomaly_map gives values that are not finite for images of {size}")


def check_encoding(make: Make) -> None:
    """Check that encoding is frozen: repeatable, the same in training mode, without gradient or side effects."""
    detector = first_accepted(make).train()
    before, images = state_of(detector), noise_images(detector.image_size)
    features = detector.encode(images)
    ensure(not any(f.requires_grad for f in features), "encode gives features with a gradient: use torch.no_grad()")
    repeated, evaluated = detector.encode(images), detector.eval().encode(images)
    ensure(equal_features(features, repeated), "encode gives other features of the same images when repeated")
    ensure(equal_features(features, evaluated), "encode gives other features after train() than after eval()")
    ensure_unchanged(detector, before, "encode")


def check_gradients(make: Make) -> None:
    """Check that the loss is a finite scalar with a gradient for exactly the weights in the optimizer."""
    detector = first_accepted(make).train()
    in_optimizer = {id(p) for group in detector.optimizer().param_groups for p in group["params"]}
    for batch in detector.training_batches(detector.encode(noise_images(detector.image_size))):
        loss = detector.loss(batch)
        ensure(loss.shape == () and bool(loss.isfinite()), f"loss gives {loss.detach()}, not a finite scalar")
        loss.backward()  # type: ignore[no-untyped-call]
    for name, p in detector.named_parameters():
        if id(p) not in in_optimizer:
            ensure(not p.requires_grad, f"{name} requires a gradient but is not in optimizer(): freeze it, or add it")
        elif p.grad is None:
            raise AssertionError(f"{name} is in optimizer(), but the loss does not depend on it")
        else:
            ensure(bool(p.grad.isfinite().all()), f"the gradient of {name} is not finite")


def check_batch_count(make: Make) -> None:
    """Check that the number of training batches is the announced one."""
    detector = first_accepted(make)
    images = noise_images(detector.image_size)
    found = len(list(detector.training_batches(detector.encode(images))))
    stated = detector.training_batch_count(len(images))
    ensure(found == stated, f"training_batches yields {found}, but training_batch_count({len(images)}) says {stated}")


def check_parts(make: Make) -> None:
    """Check that the mean over the parts of a training batch of weight times loss is the loss of the batch."""
    detector = first_accepted(make).eval()  # no randomness in the loss
    features = detector.encode(noise_images(detector.image_size))
    for count in (2, 3, 100):
        batch = next(iter(detector.training_batches(features)))
        parts = [detector.part(batch, index, count) for index in range(count)]
        with torch.no_grad():
            mean = sum(weight * float(detector.loss(part)) for part, weight in parts) / count
            loss = float(detector.loss(batch))
        ensure(
            abs(mean - loss) <= PARTS_ERROR * abs(loss),
            f"the mean loss of {count} parts of a batch is {mean:.6g}, and the batch has {loss:.6g}: return "
            "a mean over the batch, or override part",
        )


def check_learning(make: Make) -> None:
    """Check that training lowers the loss."""
    detector = first_accepted(make)
    detector.fit_statistics(iter([detector.encode(noise_images(detector.image_size))]))
    before = mean_loss(detector)
    train_briefly(detector, epochs=5)
    after = mean_loss(detector)
    ensure(after < before, f"5 epochs on one batch of images turn the loss from {before:.6g} into {after:.6g}")


def check_direction(make: Make) -> None:
    """Check that each map rises if features move to a higher loss: higher is more anomalous."""
    detector = first_accepted(make).eval()
    features = [f.requires_grad_() for f in detector.encode(noise_images(detector.image_size))]
    loss = torch.stack([detector.loss(batch) for batch in detector.training_batches(features)]).sum()
    slopes = torch.autograd.grad(loss, features, allow_unused=True, materialize_grads=True)
    ways = [0.1 * f.norm() * s / s.norm().clamp_min(1e-30) for f, s in zip(features, slopes, strict=True)]
    with torch.no_grad():
        moved = [[f + sign * w for f, w in zip(features, ways, strict=True)] for sign in (-1, 1)]
        likely, unlikely = (detector.anomaly_map(some).mean((0, 2, 3)) for some in moved)
    rises = bool((unlikely >= likely).all())
    ensure(rises, "anomaly_map is lower where the loss is higher: higher must mean more anomalous")


def check_independence(make: Make) -> None:
    """Check that a map, and so the score, depends neither on other images in the batch nor on their number."""
    ensure_independence(trained(make))


def check_inference(make: Make) -> None:
    """Check that computing maps changes no weight and no buffer."""
    detector = trained(make)
    before = state_of(detector)
    maps_of(detector, noise_images(detector.image_size))
    ensure_unchanged(detector, before, "anomaly_map")


def check_arguments(make: Make) -> None:
    """Check that the recorded arguments are plain, and that the class can be found and built again with them."""
    detector = first_accepted(make)
    name = f"{type(detector).__module__}.{type(detector).__qualname__}"
    try:
        arguments = json.loads(json.dumps(plain(detector.init_args)))
    except TypeError as error:
        raise AssertionError(f"an argument of {name} is neither number, text, list, dict nor None: {error}") from error
    at_top = type(detector).__qualname__.isidentifier()
    ensure(at_top, f"{name} cannot be imported again: define it at the top of its module")
    found = registry.load("models", registry.name_of("models", type(detector)))
    ensure(found is type(detector), f"importing {name} gives another class")
    again = found(detector.image_size, **arguments)
    shapes = [{key: t.shape for key, t in one.state_dict().items()} for one in (again, detector)]
    ensure(shapes[0] == shapes[1], f"the recorded arguments build a {name} with other weights")


def check_checkpoint(make: Make) -> None:
    """Check that a trained detector gives the same maps after saving and loading, bit by bit."""
    detector = trained(make)
    finite = all(bool(p.isfinite().all()) for p in detector.parameters())
    ensure(finite, "training makes weights that are infinite or NaN")
    images = noise_images(detector.image_size)
    same = torch.equal(maps_of(reloaded(detector), images), maps_of(detector, images))
    lost = "a loaded checkpoint gives other maps: keep everything that is learned or drawn in parameters and buffers"
    ensure(same, lost)


def check_copy(make: Make) -> None:
    """Check that a deep copy gives the same maps, and that training it does not change the original."""
    detector = trained(make)
    before, copied = state_of(detector), copy.deepcopy(detector)
    images = noise_images(detector.image_size)
    ensure(torch.equal(maps_of(copied, images), maps_of(detector, images)), "a deep copy gives other maps")
    ensure(copied.init_args == detector.init_args, "a deep copy has other init_args")
    train_briefly(copied, epochs=1)
    ensure_unchanged(detector, before, "training a deep copy")


def check_calibration(make: Make) -> None:
    """Check that constants are set in buffers alone, repeatably, and that maps stay finite and independent."""
    detector = trained(make)
    steps = "fit_statistics, fit_local_scale or calibrate"
    weights = {name: p.detach().clone() for name, p in detector.named_parameters()}
    set_constants_of(detector)
    changed = [name for name, p in detector.named_parameters() if not torch.equal(p, weights[name])]
    ensure(not changed, f"{steps} changes the weight {', '.join(changed[:3])}: set buffers alone")
    before = state_of(detector)
    set_constants_of(detector)
    ensure_unchanged(detector, before, f"{steps}, on the same features a second time,")
    images = noise_images(detector.image_size)
    maps = maps_of(detector, images)
    ensure(bool(maps.isfinite().all()), f"anomaly_map gives values that are not finite after {steps}")
    saved = torch.equal(maps_of(reloaded(detector), images), maps)
    ensure(saved, f"a loaded checkpoint gives other maps after {steps}: keep constants in buffers")
    ensure_independence(detector)


def check_deployable(make: Make) -> None:
    """Check that ``deployable()`` gives the same maps before and after calibration, and changes nothing."""
    detector = trained(make)
    images = noise_images(detector.image_size)
    for state in ("trained", "calibrated"):
        before, maps = state_of(detector), maps_of(detector, images)
        error = relative_difference(maps_of(detector.deployable(), images), maps)
        ensure(
            error <= DEPLOYED_ERROR, f"once {state}, maps of deployable() differ by {error:.1e} of the largest value"
        )
        ensure_unchanged(detector, before, "deployable")
        set_constants_of(detector)


def ensure_independence(detector: Detector) -> None:
    """Raise an AssertionError if an image's map depends on other images."""
    images = noise_images(detector.image_size)
    maps = maps_of(detector, images)
    others = torch.cat([images[:1], 10 * noise_images(detector.image_size, len(images) - 1, seed=1)])
    same = torch.equal(maps_of(detector, others)[0], maps[0])
    ensure(same, "an image's map changes with the other images of its batch")
    error = relative_difference(maps_of(detector, images[:1]), maps[:1])
    ensure(error <= BATCH_ERROR, f"an image's map changes by {error:.1e} of its maximum when it is alone in a batch")


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
    check_parts,
)
"""All checks of a detector; each takes a function that makes one."""
