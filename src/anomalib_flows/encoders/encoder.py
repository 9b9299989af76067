"""Frozen timm encoders: an image becomes a few feature maps."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import torch.nn.functional as F
from einops import rearrange
from huggingface_hub import constants
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError, first_line
from anomalib_flows.core.registry import unknown
from anomalib_flows.core.types import ImageSize

_weights_follow: ContextVar[bool] = ContextVar("weights_follow", default=False)

_OURS = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "features_only",
    "out_indices",
}

Triple = tuple[float, float, float]
Weights = Literal["pretrained", "random"] | Path


@contextlib.contextmanager
def weights_follow() -> Iterator[None]:
    """Build encoders without reading weights, because a checkpoint that holds them is loaded next."""
    token = _weights_follow.set(True)
    try:
        yield
    finally:
        _weights_follow.reset(token)


class Encoder(nn.Module):
    """Extract feature maps with a frozen network of timm.

    Transformers give the tokens of a block as a map.

    Args:
        image_size: Height H and width W of the images.
        backbone: Name of a model of timm, see ``anomalib-flows list backbones``.
        weights: ``pretrained`` (timm's cache or hub), ``random``, or a file with a state dict of that model.
        layers: Indices of timm's feature maps, or of blocks for transformers.
        timm_args: Further arguments of ``timm.create_model``, such as ``pad_type``.
        mean: Mean of each channel for the normalisation, in [0, 1]; by default what timm states.
        std: Standard deviation of each channel, likewise.
        strides: The maps that are taken if no layers are given, by stride.
        depths: The blocks of a transformer that are taken if no layers are given, as shares of its depth.
        final_norm: Whether a transformer's final norm is applied to the tokens of each block.
        padding: What convolutions see beyond the border: ``zeros``, or the image by ``reflect``.

    Raises:
        InputError: If the model is unknown, the weights cannot be had or do not fit, or a layer does not exist.

    Example:
        >>> encoder = Encoder((64, 96), "resnet18", weights="random")
        >>> [tuple(feature.shape) for feature in encoder(torch.zeros(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6)]
    """

    network: Any  # timm's networks are not typed

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = "resnet18",
        weights: Weights = "pretrained",
        layers: Sequence[int] | None = None,
        timm_args: dict[str, Any] | None = None,
        mean: Triple | None = None,
        std: Triple | None = None,
        *,
        strides: Sequence[int] = (4, 8, 16),
        depths: Sequence[float] = (2 / 3,),
        final_norm: bool = True,
        padding: Literal["zeros", "reflect"] = "zeros",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.choices = backbone, image_size, sorted((timm_args or {}).items())
        choose = partial(_layers, backbone, layers=layers, strides=strides, depths=depths)
        network = _create(backbone, weights, image_size, timm_args or {}, choose, final_norm)
        network = _padded(network, padding).eval().requires_grad_(False)
        self.network = network.to(memory_format=torch.channels_last)  # once, or each call would reorder the weights
        self.channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
        self.mean: Triple = mean or self.network.default_cfg["mean"]
        self.std: Triple = std or self.network.default_cfg["std"]
        self.shapes = self._shapes(image_size)
        self._quick: tuple[Any, Any] = (None, None)

    def train(self, mode: bool = True) -> Encoder:
        """Stay in evaluation mode: a frozen encoder's batch statistics never change."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of normalised images (B, 3, H, W), each of shape (B, C, h, w)."""
        exporting = torch.jit.is_tracing() or torch.compiler.is_exporting()  # type: ignore[attr-defined, no-untyped-call]
        return self._maps(self.network if exporting else self._quick_network(images), images)

    def fingerprint(self) -> str:
        """Name all that the features of a normalised image depend on: weights, architecture, and how it is used."""
        layers = getattr(self.network, "indices", None) or self.network.feature_info.out_indices
        digest = sha256(repr((timm().__version__, self.choices, layers, str(self.network))).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            values = tensor.detach().cpu().contiguous().flatten()
            digest.update(repr((name, tensor.shape, tensor.dtype)).encode())
            digest.update(memoryview(values.view(torch.uint8).numpy()))
        return digest.hexdigest()

    def _maps(self, network: Any, images: Tensor) -> list[Tensor]:
        """Return what a network makes of images, channels in the second place."""
        features = network(images)
        return [rearrange(f, "b h w c -> b c h w") for f in features] if self.channels_last else list(features)

    def _quick_network(self, images: Tensor) -> Any:
        """Return the network with its batch norms folded, made anew whenever its weights are others."""
        from anomalib_flows.encoders.batch_norm import without_batch_norms

        tensors = self.network.state_dict().values()
        if any(tensor.is_inference() for tensor in tensors):  # these do not tell when they change
            return self.network
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]  # noqa: SLF001 (there is no public one)
        if self._quick[0] != state:
            self._quick = (state, [without_batch_norms(self.network, images)])  # in a list: not a part of this module
        return self._quick[1][0]

    def _shapes(self, image_size: ImageSize) -> list[tuple[int, int, int]]:
        """Channels, height and width of each feature map, found by encoding one black image."""
        try:
            return [
                (f.shape[1], f.shape[2], f.shape[3]) for f in self._maps(self.network, torch.zeros(1, 3, *image_size))
            ]
        except (AssertionError, RuntimeError) as error:
            size = ",".join(map(str, image_size))
            raise InputError(
                f"--data.image_size {size} does not suit the backbone {self.backbone}: {first_line(error)}"
            ) from error


class _TokenMaps(nn.Module):
    """The tokens of some blocks of a transformer, as maps; later blocks are dropped.

    Images whose sides are no multiples of the patch are stretched by the few pixels that they lack.
    """

    model: Any

    def __init__(self, model: Any, indices: list[int], size: ImageSize, final_norm: bool) -> None:
        super().__init__()
        self.default_cfg = model.default_cfg
        self.size, self.final_norm = size, final_norm
        self.indices = model.prune_intermediate_layers(indices, prune_norm=not final_norm, prune_head=True)
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        if images.shape[-2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False)
        features: list[Tensor] = self.model.forward_intermediates(
            images, indices=self.indices, norm=self.final_norm, output_fmt="NCHW", intermediates_only=True
        )
        return features


@cache
def timm() -> Any:
    """Import timm, and register our encoder with it: seconds, for which no mistake on a command line need wait."""
    import timm

    from anomalib_flows.encoders import texture13  # noqa: F401 - registers our encoder with timm

    return timm


def names() -> list[str]:
    """Names of timm's models; nearly all give feature maps."""
    listed: list[str] = timm().list_models()
    return listed


def _create(
    name: str,
    weights: Weights,
    size: ImageSize,
    args: dict[str, Any],
    choose: Callable[[Any], list[int]],
    final_norm: bool,
) -> Any:
    """Build a feature extractor of the layers that are chosen, and give it its weights."""
    if not timm().is_model(name):
        raise InputError(unknown("backbone", name, timm().list_models()))
    if taken := sorted(_OURS & set(args)):
        raise InputError(f"--model.timm_args {taken} are set by --model.weights and --model.layers: leave them out.")
    source = {} if _weights_follow.get() else _source(weights)
    network = _network(name, size, args | _marked(source))
    _check_complete(network, source, name)
    indices = choose(network)
    if _is_transformer(network):
        stride = max(network.feature_info.reduction())
        whole = (-(-size[0] // stride) * stride, -(-size[1] // stride) * stride)
        network = _TokenMaps(_load(name, whole, args | source), indices, whole, final_norm)
    else:
        network = _load(name, size, args | source | {"features_only": True, "out_indices": indices})
    return network


def _network(name: str, size: ImageSize, args: dict[str, Any]) -> Any:
    """Build the network with all its feature maps, to learn what it offers."""
    return _load(name, size, args | {"features_only": True})


def _is_transformer(network: nn.Module) -> bool:
    """Whether timm gives the features of a network block by block, all of one size."""
    return hasattr(getattr(network, "model", None), "forward_intermediates")


def _load(name: str, size: ImageSize, args: dict[str, Any]) -> Any:
    """Create a model; transformers are told the image size, other models do not take it."""
    try:
        with _impatient_hub() if _asks_hub(name, args) else contextlib.nullcontext():
            with contextlib.suppress(TypeError):
                return timm().create_model(name, **{"img_size": size} | args)
            return timm().create_model(name, **args)
    except Exception as error:  # of timm's filters for weights, of the hub's client, of a constructor: any kind
        raise InputError(_failure(name, args, error)) from error


def _asks_hub(name: str, args: dict[str, Any]) -> bool:
    """Whether timm takes a model's weights from its hub."""
    if not args.get("pretrained") or "pretrained_cfg_overlay" in args:
        return False
    config = timm().get_pretrained_cfg(name)
    return config is None or not config.file


@contextlib.contextmanager
def _impatient_hub() -> Iterator[None]:
    """Keep the hub's client to its cache where there is no network; it would retry for a minute."""
    logger, offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        if not getproxies().keys() & {"http", "https", "all"}:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)


def _failure(name: str, args: dict[str, Any], error: Exception) -> str:
    """Say which option makes a model fail."""
    if overlay := args.get("pretrained_cfg_overlay"):
        given = f"--model.weights {overlay['file']} does not fit timm's {name}"
        if "loading state_dict" in str(error):
            detail = shorten(str(error).partition("\n")[2], 100, placeholder=" ...").rstrip(".")
            return f"{given} ({detail}): name the network that the file is of with --model.backbone."
        return f"{given} with its arguments: {first_line(error)}"
    if args.get("pretrained") and not isinstance(error, RuntimeError | TypeError):
        return _unreachable(name, error)
    return f"--model.backbone {name} cannot be made with this image size, weights and timm_args: {first_line(error)}"


def _padded(network: Any, padding: Literal["zeros", "reflect"]) -> Any:
    """Let convolutions that look beyond the border see what ``padding`` says there."""
    wide = [m for m in network.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    if padding != "zeros" and any(type(m) is not nn.Conv2d for m in wide):
        raise InputError(
            f"--model.padding {padding} does not go with convolutions that pad by themselves: leave out pad_type."
        )
    for module in wide:
        module.padding_mode = padding
    return network


def _layers(
    name: str, network: Any, layers: Sequence[int] | None, strides: Sequence[int], depths: Sequence[float]
) -> list[int]:
    """Check the indices of the layers, or choose them."""
    infos = network.feature_info.info
    depth = len(infos)
    if _is_transformer(network):
        default = sorted({max(0, round(share * depth) - 1) for share in depths})
    else:
        default = [i for i, info in enumerate(infos) if info["reduction"] in strides] or list(range(depth))
    chosen = default if layers is None else list(layers)
    if not chosen:
        raise InputError("--model.layers is empty: name some layers, or leave it out.")
    if missing := [i for i in chosen if i not in range(depth)]:
        raise InputError(f"--model.layers {missing} do not exist in {name}: it has layers 0 to {depth - 1}.")
    return chosen


def _source(weights: Weights) -> dict[str, Any]:
    """Arguments of ``timm.create_model`` that say where weights come from."""
    if weights == "random":
        return {}
    if weights == "pretrained":
        return {"pretrained": True}
    if not Path(weights).is_file():
        raise InputError(f"--model.weights {weights} is neither 'pretrained' nor 'random' nor an existing file.")
    # Some models of timm read files of their authors' own formats, unless told not to.
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights), "custom_load": False}}


def _marked(source: dict[str, Any]) -> dict[str, Any]:
    """Replace all weights of a file by NaN."""
    if "pretrained_cfg_overlay" not in source:
        return {}
    overlay = source["pretrained_cfg_overlay"]
    marked = {k: torch.full_like(t, torch.nan) for k, t in _state(Path(overlay["file"])).items()}
    return source | {"pretrained_cfg_overlay": overlay | {"state_dict": marked}}


def _check_complete(network: nn.Module, source: dict[str, Any], name: str) -> None:
    """Refuse a file that lacks weights, which timm would leave random without a word.

    timm renames and reshapes many weights on their way in, so that their names do not tell. Hence the network
    was made with weights that are all marked: those without a mark are not from the file.
    """
    if "pretrained_cfg_overlay" not in source:
        return
    wanted = {k: t for k, t in network.state_dict().items() if t.is_floating_point()}
    if missing := [k for k, t in wanted.items() if not t.isnan().all()]:
        file, few = source["pretrained_cfg_overlay"]["file"], ", ".join(missing[:3])
        raise InputError(
            f"--model.weights {file} is not a state dict of timm's {name}: it lacks {few} "
            f"({len(missing)} of {len(wanted)} tensors)."
        )


def _state(file: Path) -> dict[str, Tensor]:
    """Floating-point tensors of a file, read without running code from it."""
    try:
        state = timm().models.load_state_dict(str(file), weights_only=True)
        return {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}
    except Exception as error:
        raise InputError(
            f"--model.weights {file} cannot be read as safetensors or as a plain state dict "
            f"({type(error).__name__}): save it with safetensors.torch.save_file."
        ) from error


def _unreachable(name: str, error: Exception) -> str:
    """Say what to do without the hub."""
    return (
        f"The pretrained weights of {name} are not in the local cache and the hub cannot be reached "
        f"({type(error).__name__}). Connect to the network once; or copy the weights from elsewhere and pass "
        f"--model.weights FILE (safetensors); or take the encoder that comes with us, --model.backbone texture13."
    )
