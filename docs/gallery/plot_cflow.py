"""
CFLOW on a drawn plate
======================

CFLOW learns the density of single feature vectors, given their positions in the image. This suits products that always
lie in the same place, such as this drawn metal plate with holes.

The model card is :doc:`/models/cflow`.
"""

import tempfile

import matplotlib.pyplot as plt
import torch

from anomalib_flows import TrainConfig, load, read_image, train

# %%
# Train
# -----
#
# The training is short and the images are small, so that it takes seconds.

config = TrainConfig.from_dict(
    {
        "model": "cflow",
        "data": {"class_path": "synthetic", "init_args": {"category": "plate"}},
        "image": {"size": 160},
        "trainer": {"max_steps": 30},
        "false_alarm_rate": 0.1,
        "pictures": 0,
        "output": tempfile.mkdtemp(),
    }
)
run = train(config)
metrics = run.metrics()
print(f"image AUROC {metrics['image']['auroc']:.3f}, pixel AUROC {metrics['pixel']['auroc']:.3f}")

# %%
# What it marks
# -------------

pipeline = load(run.model_file)
tested = {s.defect: s for s in config.data.build("datasets").samples() if s.split == "test"}
kinds = sorted(tested, key=lambda kind: (kind != "good", kind))
figure, rows = plt.subplots(2, len(kinds), figsize=(12, 4.4), layout="constrained")
for column, kind in enumerate(kinds):
    image = read_image(tested[kind].path)
    prediction = pipeline(image[None])
    rows[0, column].imshow(image.permute(1, 2, 0).byte())
    rows[0, column].set_title(kind.replace("_", " "))
    rows[1, column].imshow(pipeline.postprocess.normalise(prediction.maps)[0, 0], vmin=0, vmax=1, cmap="inferno")
    score = pipeline.postprocess.normalise_scores(prediction.scores).item()
    rows[1, column].set_title(f"score {score:.2f}")
for axes in rows.flat:
    axes.set(xticks=[], yticks=[])

# %%
# The scores of all test photos
# -----------------------------
#
# Each dot is a photo. Photos above the line are called anomalous.

predictions = [
    (sample.defect, pipeline.postprocess.normalise_scores(pipeline(read_image(sample.path)[None]).scores).item())
    for sample in config.data.build("datasets").samples()
    if sample.split == "test"
]
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
for place, kind in enumerate(kinds):
    scores = [score for defect, score in predictions if defect == kind]
    axes.scatter([place] * len(scores), scores, alpha=0.5, color="tab:blue" if kind == "good" else "tab:red")
axes.axhline(0.5, color="black", linestyle="--")
axes.set_xticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
axes.set(ylabel="normalised score", ylim=(0, 1.05))

# %%
# What the position adds
# ----------------------
#
# Each flow gets a code of the position: sines and cosines of the row and of the column, with several wavelengths. These
# are some of them for the first feature map.

code = pipeline.detector.flows[0].code
_, height, width = pipeline.detector.encoder.shapes[0]
weight = torch.eye(128)
values = code.everywhere()(torch.zeros(height * width, 128), weight).view(height, width, 128)
figure, row = plt.subplots(1, 6, figsize=(11, 2.2), layout="constrained")
for axes, channel in zip(row, (0, 8, 20, 64, 72, 84), strict=True):
    axes.imshow(values[..., channel], cmap="viridis")
    axes.set(title=f"channel {channel}", xticks=[], yticks=[])
