"""
The report of a run
===================

``train``, ``test`` and ``predict`` end by writing a report: one HTML file that opens without a network, so that you can
send it to a colleague.

:doc:`/how-to/results` explains how to read it.
"""

import html
import json
import tempfile

import matplotlib.pyplot as plt

from anomalib_flows import TrainConfig, train
from anomalib_flows.results.report import write_report

config = TrainConfig.from_dict(
    {
        "model": "fastflow",
        "data": {"class_path": "synthetic", "init_args": {"category": "fabric"}},
        "image": {"size": 160},
        "trainer": {"max_steps": 40},
        "false_alarm_rate": 0.1,
        "pictures": 0,
        "output": tempfile.mkdtemp(),
    }
)
run = train(config)

# %%
# Write it
# --------
#
# The command is ``anomalib-flows report RUN``. It reads files of the run only, so it needs neither images nor a model.

file = write_report(run.path)
print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB for 74 images")

# %%
# Look at it
# ----------
#
# This is the report itself. Move the slider of the threshold, filter the images, and open one.


class Page:
    """Show a page within this one."""

    def __init__(self, content):
        self.content = content

    def _repr_html_(self):
        return f'<iframe srcdoc="{html.escape(self.content)}" style="width: 100%; height: 44rem; border: 0"></iframe>'


Page(file.read_text(encoding="utf-8"))

# %%
# The numbers behind it
# ---------------------
#
# Everything in the report is in files of the run, such as the curves in ``curves.json`` (:doc:`/reference/files`).


curves = json.loads(run.curves_file.read_text(encoding="utf-8"))
figure, row = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
shown = {
    "ROC of images": (curves["image"]["roc"], "false-positive rate", "true-positive rate"),
    "precision and recall of images": (curves["image"]["precision_recall"], "recall", "precision"),
    "PRO of pixels": (curves["pixel"]["pro"], "false-positive rate", "overlap of regions"),
}
for axes, (title, (points, x, y)) in zip(row, shown.items(), strict=True):
    axes.plot(*zip(*points, strict=True))
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
