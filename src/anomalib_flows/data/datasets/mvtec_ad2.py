"""MVTec AD 2: eight products under changing light."""

from __future__ import annotations

from dataclasses import dataclass

from anomalib_flows.data.datasets.base import Archive, Card, Counts
from anomalib_flows.data.datasets.layout import Layout, LayoutDataset


@dataclass(kw_only=True)
class MVTecAD2(LayoutDataset):
    """Read one category of MVTec AD 2, with its public test images.

    The images are in ``ROOT/CATEGORY/train/good``, ``validation/good``, ``test_public/good`` and
    ``test_public/bad``, and the masks in ``test_public/ground_truth/bad``, named ``NAME_mask.png``. The images in
    ``validation``, all of them good, are the calibration split. The labels of ``test_private`` and
    ``test_private_mixed`` are not published: predictions can be made for these folders, but no metrics.

    Heckler-Kram et al., The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly Detection, 2025.
    """

    layout = Layout(
        calibration="validation",
        test="test_public",
        masks="test_public/ground_truth",
        unlabelled=("test_private", "test_private_mixed"),
    )
    card = Card(
        title="MVTec AD 2",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        licence="CC BY-NC-SA 4.0: no commercial use",
        citation="Heckler-Kram, Neudeck, Scheler, König, Steger: The MVTec AD 2 Dataset: Advanced Scenarios for "
        "Unsupervised Anomaly Detection, arXiv:2503.21622, 2025",
        counts={
            "can": Counts(412, 72, 90, calibration=46),
            "fabric": Counts(387, 66, 90, calibration=43),
            "fruit_jelly": Counts(263, 20, 60, calibration=37),
            "rice": Counts(313, 42, 90, calibration=35),
            "sheet_metal": Counts(137, 24, 90, calibration=19),
            "vial": Counts(291, 35, 105, calibration=41),
            "wallplugs": Counts(293, 60, 90, calibration=33),
            "walnuts": Counts(432, 60, 90, calibration=48),
        },
        archives=(
            Archive(
                "mvtec_ad_2.tar.gz",
                # The makers publish no checksum: address and checksum are those that anomalib's loader has.
                "https://www.mydrive.ch/shares/121573/7f68fe2c4f7c2ceaa08f463aaeb2f414/download/466712769-1743422799/"
                "mvtec_ad_2.tar.gz",
                "sha256:c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4",
            ),
        ),
    )
