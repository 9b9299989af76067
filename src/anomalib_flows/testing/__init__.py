"""Contract tests for the classes of plug-ins; they run over our own models and datasets, too.

Three lines in a plug-in's tests see to it that training, checkpoints and decisions work with its classes::

    from anomalib_flows.testing import check_detector

    def test_my_model():
        check_detector(lambda size: MyModel(size, weights="random"))

With ``@pytest.mark.parametrize("check", DETECTOR_CHECKS)`` pytest shows each check by itself.
"""

from anomalib_flows.testing.bijections import check_bijection
from anomalib_flows.testing.datasets import DATASET_CHECKS, check_dataset
from anomalib_flows.testing.detectors import DETECTOR_CHECKS, Make, check_detector

__all__ = ["DATASET_CHECKS", "DETECTOR_CHECKS", "Make", "check_bijection", "check_dataset", "check_detector"]
