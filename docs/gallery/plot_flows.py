"""
Flows in five minutes
=====================

A normalizing flow is an invertible function that turns data into normally distributed numbers. It gives the density of
the data. Where the density is low, a point is an anomaly. Here the data are points in the plane, so that everything can
be drawn.

:doc:`/explanation/flows` explains the method.
"""

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from anomalib_flows.flows import AffineCoupling, Chain, GlobalAffine, SoftPermutation

torch.manual_seed(0)


def two_arcs(count):
    """Draw points near two arcs: the good products of this page."""
    angle = math.pi * torch.rand(count)
    upper = torch.rand(count) < 0.5
    x = torch.where(upper, angle.cos() - 0.5, 0.5 - angle.cos())
    y = torch.where(upper, angle.sin() - 0.25, 0.25 - angle.sin())
    return torch.stack((x, y), 1) * 1.5 + 0.1 * torch.randn(count, 2)


def network(inputs, outputs):
    """Return the small network of a coupling."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


# %%
# A flow is a chain of simple steps
# ---------------------------------
#
# A coupling keeps one coordinate and scales and shifts the other by a network of the first. So it can be inverted, and
# its log-determinant is the logarithm of the scale. A rotation between the couplings makes sure that both coordinates
# are changed.

steps = [Chain(AffineCoupling(2, network), GlobalAffine(2), SoftPermutation(2)) for _ in range(8)]
flow = Chain(*steps)
points = two_arcs(1000)
z, log_det = flow(points)
back, _ = flow.inverse(z)
print("largest error of the inverse:", f"{(back - points).abs().max().item():.1e}")

# %%
# Training maximises the density of the data
# ------------------------------------------
#
# The density of a point is that of its z under a normal distribution, times the change of volume:
# :math:`\log p(x) = \log p(z) + \log |\det \partial z / \partial x|`.


def log_density(x):
    """Return the logarithm of the density of points."""
    z, log_det = flow(x)
    return log_det - 0.5 * z.square().sum(1) - math.log(2 * math.pi)


count = 1000
optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
for _ in range(count):
    loss = -log_density(two_arcs(256)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
print(f"mean log-density of new points: {log_density(two_arcs(4000)).mean().item():.2f}")

# %%
# What the flow has learned
# -------------------------
#
# On the left are points of the data. On the right the flow has turned them into a round cloud. Neighbours stay
# neighbours.

points = two_arcs(2000)
with torch.no_grad():
    z, _ = flow(points)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for axes, shown, title in ((left, points, "data x"), (right, z, "z = f(x)")):
    axes.scatter(*shown.T, c=points[:, 0], s=5, cmap="viridis")
    axes.set(title=title, xlim=(-3.5, 3.5), ylim=(-3.2, 3.2), aspect="equal")

# %%
# Low density means anomalous
# ---------------------------
#
# The density is high on the arcs and low elsewhere. Its negative logarithm is an anomaly score. No anomalous point was
# needed to train it.

side = torch.linspace(-3, 3, 200)
grid = torch.cartesian_prod(side, side)
with torch.no_grad():
    surprise = -log_density(grid).view(200, 200).T
unusual = torch.tensor([[0.0, 1.9], [-1.0, -1.5], [1.9, 1.5]])
figure, axes = plt.subplots(figsize=(6.4, 5), layout="constrained")
image = axes.imshow(surprise.clamp(max=15), origin="lower", extent=(-3, 3, -3, 3), cmap="viridis")
axes.scatter(*two_arcs(200).T, s=4, color="white")
axes.scatter(*unusual.T, s=70, color="red", marker="x", linewidth=2)
with torch.no_grad():
    for (x, y), score in zip(unusual.tolist(), -log_density(unusual), strict=True):
        axes.annotate(f"{score:.0f}", (x + 0.12, y + 0.12), color="red", fontsize=12)
axes.set(title="anomaly score, $-\\log p(x)$ (clipped at 15)")
figure.colorbar(image)

# %%
# A flow works in both directions
# -------------------------------
#
# The inverse turns normally distributed numbers into new points of the data. The steps in between
# move the points a little each.

with torch.no_grad():
    stages = [torch.randn(2000, 2)]
    colour = stages[0][:, 0]
    for step in reversed(steps):
        stages.append(step.inverse(stages[-1])[0])
figure, row = plt.subplots(1, 5, figsize=(11, 2.6), layout="constrained")
for axes, stage in zip(row, (0, 2, 4, 6, 8), strict=True):
    axes.scatter(*stages[stage].T, c=colour, s=2, cmap="viridis")
    axes.set(title="z" if stage == 0 else f"after {stage} steps", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    axes.set(xticks=[], yticks=[])

# %%
# From points to photos
# ---------------------
#
# A detector does the same with the features of photos. A frozen, pretrained network turns a photo into feature maps of
# a few hundred numbers at each position. The flow learns the density of these numbers for good photos:
# :doc:`FastFlow <plot_fastflow>` of whole maps, :doc:`CFLOW <plot_cflow>` of one position at a time.
