"""Frozen batch norms as part of the convolutions before them: a third less time for MobileNetV2's features on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from timm.layers import BatchNormAct2d, Conv2dSame  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = nn.Conv2d, Conv2dSame
"""Those that multiply by their weights as they are."""
NORMS = nn.BatchNorm2d, BatchNormAct2d
TOLERANCE = 1e-6
"""How far features may be from what they were in double precision, as a share of the largest."""

Names: TypeAlias = "list[tuple[str, str]]"


@torch.no_grad()
def without_batch_norms(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy of a network in evaluation mode whose convolutions do the work of batch norms as well.

    Args:
        network: Makes a list of feature maps of images; batch norms of any place in it may stay as they are.
        images: The first of them is what both are compared by, (B, 3, H, W).

    Returns:
        The copy, or the network itself if there is nothing to fold, or the copy's features were others.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
        >>> without_batch_norms(network, torch.rand(1, 3, 2, 2))
        Sequential(
          (0): Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1))
          (1): Identity()
        )
    """
    if not any(type(module) in NORMS for module in network.modules()):
        return network
    # In double precision, where rounding cannot be taken for another result.
    exact, image = copy.deepcopy(network).cpu().double(), images[:1].cpu().double()
    with torch.autocast("cpu", enabled=False):
        pairs, expected = followed(exact, image)
        for convolution, norm in pairs:
            fold(exact, convolution, norm)
        same = pairs and alike(exact(image), expected)
    return exact.to(images.device, next(network.parameters()).dtype) if same else network


def followed(network: nn.Module, images: Tensor) -> tuple[Names, Any]:
    """Name the convolutions whose outputs go to batch norms, with these, and return the network's output."""
    calls: list[tuple[str, nn.Module, Any, Any]] = []  # with tensors, so that no other comes to have their identity

    def note(name: str, module: nn.Module) -> Any:
        return module.register_forward_hook(lambda _, inputs, output: calls.append((name, module, inputs[0], output)))

    hooks = [note(name, m) for name, m in network.named_modules() if type(m) in CONVOLUTIONS + NORMS]
    output = network(images)
    for hook in hooks:
        hook.remove()
    names = [name for name, *_ in calls]
    made_by = {id(out): name for name, module, _, out in calls if type(module) in CONVOLUTIONS}
    pairs = [(made_by.get(id(given), ""), name) for name, module, given, _ in calls if type(module) in NORMS]
    return [pair for pair in pairs if all(names.count(name) == 1 for name in pair)], output


def fold(network: nn.Module, convolution: str, norm: str) -> None:
    """Let a convolution do the work of the batch norm behind it, of which what follows the norm remains."""
    old: Any = network.get_submodule(norm)
    rest = nn.Sequential(old.drop, old.act) if isinstance(old, BatchNormAct2d) else nn.Identity()
    replace(network, convolution, fuse_conv_bn_eval(network.get_submodule(convolution), old))  # type: ignore[type-var]
    replace(network, norm, rest)


def replace(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of another one."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether feature maps differ by rounding only."""
    pairs = zip(found, expected, strict=True)
    return all(bool((f - e).abs().max() <= TOLERANCE * e.abs().max()) for f, e in pairs)
