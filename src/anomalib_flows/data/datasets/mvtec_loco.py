"""MVTec LOCO AD: parts that are damaged, and sound parts that are too many, too few or in the wrong place."""

from __future__ import annotations

from dataclasses import dataclass

from anomalib_flows.data.datasets.base import Archive, Card, Counts
from anomalib_flows.data.datasets.layout import Layout, LayoutDataset


@dataclass(kw_only=True)
class MVTecLOCO(LayoutDataset):
    """Read one category of MVTec LOCO AD.

    The images are in ``ROOT/CATEGORY/train/good``, ``validation/good``, ``test/good``,
    ``test/logical_anomalies`` and ``test/structural_anomalies``. An image has a folder of masks,
    ``ground_truth/KIND/NAME``, with a file for each defect (``000.png``, ``001.png``), which are united. The images
    in ``validation``, all of them good, are the calibration split.

    Pixel metrics are those of the united masks. The authors' sPRO, which a part of a large defect can satisfy, is not
    computed.

    Bergmann et al., Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and
    Localization, 2022.
    """

    layout = Layout(calibration="validation")
    card = Card(
        title="MVTec LOCO AD",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-loco",
        licence="CC BY-NC-SA 4.0: no commercial use",
        citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: Logical Constraints in "
        "Unsupervised Anomaly Detection and Localization, IJCV 130, 2022, doi:10.1007/s11263-022-01578-9",
        # As counted in the archive; the paper counts 7 good images fewer.
        counts={
            "breakfast_box": Counts(351, 102, 173, calibration=62),
            "juice_bottle": Counts(335, 94, 236, calibration=54),
            "pushpins": Counts(372, 138, 172, calibration=69),
            "screw_bag": Counts(360, 122, 219, calibration=60),
            "splicing_connectors": Counts(360, 119, 193, calibration=60),
        },
        archives=(
            Archive(
                "mvtec_loco_anomaly_detection.tar.xz",
                # The makers publish no checksum: address and checksum are those that anomalib's loader has.
                "https://www.mydrive.ch/shares/48237/1b9106ccdfbb09a0c414bd49fe44a14a/download/430647091-1646842701/"
                "mvtec_loco_anomaly_detection.tar.xz",
                "sha256:9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
            ),
        ),
    )
