"""FastFlow: a 2-D normalizing flow on each feature map of a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from anomalib_flows.core.errors import require
from anomalib_flows.core.types import ImageSize
from anomalib_flows.encoders.encoder import Encoder, Triple, Weights
from anomalib_flows.flows import AffineCoupling, Chain, GlobalAffine, Permutation, Subnet, fold
from anomalib_flows.models.base import Detector, Features, adam, squares
from anomalib_flows.models.components.local_scale import LocalScale, set_scales
from anomalib_flows.models.components.schedules import SCHEDULES
from anomalib_flows.models.components.upsample import Upsampling, upsample
from anomalib_flows.models.components.whitening import Norm, make_norm, whiten


class FastFlow(Detector):
    r"""Learn the density of feature maps with flows made of small convolutions.

    Each feature map x of C x h x w is whitened and goes through a flow to z. Training maximises the likelihood,

    .. math::
        L = \sum_{maps} \tfrac{1}{2} \lVert z \rVert^2 - \log |\det \partial z / \partial x|

    and the anomaly map is the mean over the feature maps of :math:`-\exp(-\frac{f}{2C} \sum_c z_c^2)`, upsampled, with
    a factor f for each position, see :class:`~anomalib_flows.models.components.local_scale.LocalScale`.

    Args:
        image_size: Height H and width W of the images.
        backbone: Name of a model of timm, see ``anomalib-flows list backbones``.
        weights: ``pretrained`` (timm's cache or hub), ``random``, or a file with a state dict of that model.
        layers: Indices of timm's feature maps, or of blocks for transformers. By default the maps of ``strides``, or
            the block at two thirds of the depth.
        strides: Which feature maps are taken, as far as the encoder has them, if ``layers`` are not given.
        steps: Flow steps for each feature map.
        hidden_ratio: Hidden channels of a coupling's network, as a multiple of its input channels.
        kernel_sizes: Kernel sizes of the steps' convolutions, taken in turn: ``[3]`` or ``[3, 1]``.
        clamp: Bound of a coupling's log-scale.
        norm: What feature maps go through first: ``whitened`` by statistics of the training images; ``layer`` norm
            over C, h and w as published, ``layer-fixed`` the same without weights; or ``none``.
        shrinkage: Of ``whitened``: 0 decorrelates the channels, 1 standardises each by itself.
        local_mean: Of ``whitened``: whether each position may have a mean of its own.
        local_scale: How far energies are taken in units of what is usual at their position, from 0 to 1.
        upsampling: How likelihoods become maps of the image's size.
        learning_rate: Step size of Adam.
        schedule: ``constant`` learning rate as published, or ``cosine`` to zero after a short warm-up.
        weight_decay: L2 penalty of Adam.
        timm_args: Further arguments of ``timm.create_model``, such as ``pad_type``.
        mean: Mean of each channel for the normalisation, in [0, 1]; by default what timm states.
        std: Standard deviation of each channel, likewise.

    Raises:
        InputError: If the backbone, its weights or layers do not exist or do not fit, or a number is out of range.

    References:
        FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows (Yu et al., 2021),
        https://arxiv.org/abs/2111.07677, section 3 and table 6. Where the paper is silent (layer norm, scaling of
        the couplings, exponential map) this follows https://github.com/gathierry/FastFlow.

    Example:
        >>> model = FastFlow((64, 64), weights="random", steps=2)
        >>> features = model.encode(torch.zeros(2, 3, 64, 64))
        >>> model.loss(features).shape, model.anomaly_map(features).shape
        (torch.Size([]), torch.Size([2, 1, 64, 64]))
    """

    published: ClassVar[dict[str, Any]] = {
        "strides": [4, 8, 16],
        "norm": "layer",
        "steps": 8,
        "clamp": 2.0,
        "local_scale": 0.0,
        "learning_rate": 1e-3,
        "schedule": "constant",
    }

    def __init__(
        self,
        image_size: ImageSize,
        backbone: str = "resnet18",
        weights: Weights = "pretrained",
        layers: list[int] | None = None,
        strides: Sequence[int] = (8, 16, 32),
        steps: int = 4,
        hidden_ratio: float = 1.0,
        kernel_sizes: Sequence[int] = (3,),
        clamp: float = 0.5,
        norm: Norm = "whitened",
        shrinkage: float = 0.01,
        local_mean: bool = True,
        local_scale: float = 0.5,
        upsampling: Upsampling = "bilinear",
        learning_rate: float = 5e-3,
        schedule: Literal["constant", "cosine"] = "cosine",
        weight_decay: float = 1e-5,
        timm_args: dict[str, Any] | None = None,
        mean: Triple | None = None,
        std: Triple | None = None,
    ) -> None:
        super().__init__()
        require(steps >= 1, "--model.steps", steps, "at least 1")
        require(
            bool(kernel_sizes) and all(k > 0 and k % 2 for k in kernel_sizes),
            "--model.kernel_sizes",
            kernel_sizes,
            "odd",
        )
        require(bool(strides), "--model.strides", strides, "at least one")
        require(hidden_ratio > 0, "--model.hidden_ratio", hidden_ratio, "above 0")
        require(clamp > 0, "--model.clamp", clamp, "above 0")
        require(0 <= local_scale <= 1, "--model.local_scale", local_scale, "from 0 to 1")
        require(0 <= shrinkage <= 1, "--model.shrinkage", shrinkage, "from 0 to 1")
        require(learning_rate > 0, "--model.learning_rate", learning_rate, "above 0")
        require(weight_decay >= 0, "--model.weight_decay", weight_decay, "at least 0")
        require(std is None or min(std) > 0, "--model.std", std, "above 0")
        self.encoder = Encoder(image_size, backbone, weights, layers, timm_args, mean, std, strides=strides)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.norms = nn.ModuleList(make_norm(shape, norm, shrinkage, local_mean) for shape in self.encoder.shapes)
        self.flows = nn.ModuleList(
            make_flow(shape[0], steps, hidden_ratio, kernel_sizes, clamp) for shape in self.encoder.shapes
        )
        self.scales = nn.ModuleList(LocalScale(shape[1:], local_scale) for shape in self.encoder.shapes)
        self.upsampling = upsampling
        self.learning_rate, self.schedule, self.weight_decay = learning_rate, schedule, weight_decay

    def encode(self, images: Tensor) -> Features:
        """Return the encoder's feature maps of normalised images (B, 3, H, W)."""
        return self.encoder(images.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def features_key(self) -> str:
        """Return what the encoder says of itself."""
        return self.encoder.fingerprint()

    def transform(self, features: Features) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield z and the log-determinant of each feature map, of shapes (B, C, h, w) and (B,)."""
        for norm, flow, feature in zip(self.norms, self.flows, features, strict=True):
            # On CPUs encoders run faster channels last, the flows' gathers channels first.
            yield flow(norm(feature.contiguous()))

    def fit_statistics(self, features: Iterable[Features]) -> None:
        """Take the statistics by which features are whitened."""
        whiten(self.norms, features)

    def loss(self, batch: Features) -> Tensor:
        """Return the negative log-likelihood, up to a constant, of feature maps; mean over B, sum over maps."""
        losses = [(energy(z) - log_det).mean() for z, log_det in self.transform(batch)]
        return torch.stack(losses).sum()

    def anomaly_map(self, features: Features) -> Tensor:
        """Return maps of shape (B, 1, H, W) in [-1, 0]; -1 is the likeliest."""
        energies = [scale(e) for scale, e in zip(self.scales, self.energies(features), strict=True)]
        upsampled = [upsample(-torch.exp(-e), self.image_size, self.upsampling) for e in energies]
        return torch.stack(upsampled).mean(0)

    def energies(self, features: Features) -> list[Tensor]:
        """Return half the mean square of each z over the channels, (B, 1, h, w)."""
        return [0.5 * squares(z).mean(1, keepdim=True) for z, _ in self.transform(features)]

    def deployable(self) -> FastFlow:
        """Return a detector of the same maps whose flows are folded."""
        return self.with_parts(flows=nn.ModuleList(fold(flow) for flow in self.flows))

    @torch.no_grad()
    def fit_local_scale(self, features: Iterable[Features]) -> None:
        """Take what is usual at each position."""
        set_scales(self.scales, (self.energies(batch) for batch in features))

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam on norms and flows."""
        trained = [*self.norms.parameters(), *self.flows.parameters()]
        return adam(trained, self.learning_rate, self.weight_decay)

    def learning_rate_factor(self, progress: float) -> float:
        """Return the factor of the learning rate when a share of the training is done."""
        return SCHEDULES[self.schedule](progress)


def energy(z: Tensor) -> Tensor:
    """Half the squared norm of each image's z, (B, C, h, w) -> (B,)."""
    return 0.5 * squares(z).flatten(1).sum(1)


def make_flow(channels: int, steps: int, hidden_ratio: float, kernel_sizes: Sequence[int], clamp: float) -> Chain:
    """Make the flow of a feature map: coupling, scaling and permutation in each step."""
    kernels = islice(cycle(kernel_sizes), steps)
    subnets = [conv_subnet(kernel, hidden_ratio) for kernel in kernels]
    return Chain(
        *(Chain(AffineCoupling(channels, s, clamp), GlobalAffine(channels), Permutation(channels)) for s in subnets)
    )


def conv_subnet(kernel_size: int, hidden_ratio: float) -> Subnet:
    """Two convolutions with a ReLU between them, which keep height and width."""

    def make(inputs: int, outputs: int) -> nn.Module:
        hidden = max(1, int(inputs * hidden_ratio))
        return nn.Sequential(
            nn.Conv2d(inputs, hidden, kernel_size, padding="same"),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, outputs, kernel_size, padding="same"),
        )

    return make
