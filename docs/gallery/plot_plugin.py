"""
A flow and a model of your own
==============================

A model is a class with four methods. This one has about 30 lines. Its flow is the simplest one: it shifts and scales
each feature at each position. This page checks the model, and trains and uses it like the built-in ones.

:doc:`/how-to/plug-ins` shows how to make a package of it.
"""

import tempfile

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from anomalib_flows import Detector, TrainConfig, load, read_image, train
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.flows import Bijection
from anomalib_flows.testing import check_bijection, check_detector

# %%
# The flow
# --------
#
# A flow has ``forward`` and ``inverse``. Each returns the result and the log-determinant.


class Standardise(Bijection):
    """Standardise each channel at each position."""

    def __init__(self, shape):
        super().__init__()
        self.mean, self.log_std = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, x, condition=None):
        return (x - self.mean) * torch.exp(-self.log_std), -self.log_std.sum().expand(len(x))

    def inverse(self, z, condition=None):
        return z * torch.exp(self.log_std) + self.mean, self.log_std.sum().expand(len(z))


# %%
# The model
# ---------
#
# The image size is the first argument. The others need types: they are the options of the model, such as
# ``--model.learning_rate`` on the command line.


class Gaussian(Detector):
    """Learn a Gaussian of each channel at each position of a frozen encoder's feature maps."""

    def __init__(self, image_size: tuple[int, int], weights: str = "pretrained", learning_rate: float = 0.05) -> None:
        super().__init__()
        self.encoder = Encoder(image_size, "tf_efficientnet_lite0", weights)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.flows = nn.ModuleList(map(Standardise, self.encoder.shapes))
        self.learning_rate = learning_rate

    def encode(self, images):
        return self.encoder(images)

    def loss(self, batch):
        pairs = [flow(x) for flow, x in zip(self.flows, batch, strict=True)]
        return sum((0.5 * z.square().flatten(1).sum(1) - log_det).mean() for z, log_det in pairs)

    def anomaly_map(self, features):
        maps = [flow(x)[0].square().mean(1, keepdim=True) for flow, x in zip(self.flows, features, strict=True)]
        return torch.stack([F.interpolate(m, self.image_size, mode="bilinear") for m in maps]).mean(0)

    def optimizer(self):
        return torch.optim.Adam(self.flows.parameters(), lr=self.learning_rate)


# %%
# Check it
# --------
#
# The contract tests compare the log-determinant with that of the Jacobian, and check that training, checkpoints and
# decisions work. They raise an ``AssertionError`` that says what is wrong.

check_bijection(Standardise((4, 2, 2)), (4, 2, 2))
check_detector(lambda size: Gaussian(size, weights="random"))
print("both keep their contracts")

# %%
# Train it
# --------
#
# A class without an entry point is named by its path, ``my_module.Gaussian``. Resizing, thresholds, heatmaps,
# checkpoints and figures are the same for all models.

config = TrainConfig.from_dict(
    {
        "model": f"{__name__}.Gaussian",
        "data": {"class_path": "synthetic", "init_args": {"category": "plate"}},
        "image": {"size": 160},
        "trainer": {"max_steps": 60},
        "false_alarm_rate": 0.1,
        "pictures": 0,
        "output": tempfile.mkdtemp(),
    }
)
run = train(config)
print(f"image AUROC {run.metrics()['image']['auroc']:.3f}, pixel AUROC {run.metrics()['pixel']['auroc']:.3f}")

# %%

pipeline = load(run.model_file)
tested = {s.defect: s for s in config.data.build("datasets").samples() if s.label == 1}
figure, rows = plt.subplots(2, len(tested), figsize=(11, 4.6), layout="constrained")
for column, (kind, sample) in enumerate(sorted(tested.items())):
    image = read_image(sample.path)
    rows[0, column].imshow(image.permute(1, 2, 0).byte())
    rows[0, column].set_title(kind.replace("_", " "))
    rows[1, column].imshow(
        pipeline.postprocess.normalise(pipeline(image[None]).maps)[0, 0], vmin=0, vmax=1, cmap="inferno"
    )
for axes in rows.flat:
    axes.set(xticks=[], yticks=[])
