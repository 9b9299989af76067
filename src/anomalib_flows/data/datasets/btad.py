"""BeanTech's dataset of three industrial products."""

from __future__ import annotations

from dataclasses import dataclass

from anomalib_flows.data.datasets.base import Archive, Card, Counts
from anomalib_flows.data.datasets.layout import Layout, LayoutDataset


@dataclass(kw_only=True)
class BTAD(LayoutDataset):
    """Read one category, ``01``, ``02`` or ``03``, of BTAD.

    The images are in ``ROOT/CATEGORY/train/ok``, ``test/ok`` and ``test/ko``, bmp or png, and the masks in
    ``ground_truth/ko``, named like the image but often of another format. Some published masks of defective images are
    empty.

    Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization, 2021.
    """

    layout = Layout(good="ok")
    card = Card(
        title="BTAD (beanTech Anomaly Detection)",
        homepage="https://github.com/pankajmishra000/VT-ADL",
        licence="CC BY-SA 4.0",
        citation="Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL: A Vision Transformer Network for Image Anomaly "
        "Detection and Localization, 30th IEEE/IES International Symposium on Industrial Electronics (ISIE), 2021",
        counts={"01": Counts(400, 21, 49), "02": Counts(399, 30, 200), "03": Counts(1000, 400, 41)},
        archives=(
            Archive(
                "btad.zip",
                "https://avires.dimi.uniud.it/papers/btad/btad.zip",
                # The makers publish no checksum: this is the one that anomalib's loader has.
                "sha256:461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
            ),
        ),
    )
