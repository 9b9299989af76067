"""Contract tests for the classes of plug-ins, which also run over our own models and datasets.

Three lines in a plug-in's tests check that training, checkpoints and decisions work with its classes::

    from anomalib_flows.testing import check_detector

    def test_my_model():
        check_detector(lambda size: MyModel(size, weights="random"))

With ``@pytest.mark.parametrize("check", DETECTOR_CHECKS)`` pytest reports each check by itself.
"""

from anomalib_flows.testing.bijections import check_bijection
from anomalib_flows.testing.datasets import DATASET_CHECKS, check_dataset
from anomalib_flows.testing.detectors import DETECTOR_CHECKS, check_detector
from anomalib_flows.testing.trials import Make

__all__ = ["DATASET_CHECKS", "DETECTOR_CHECKS", "Make", "check_bijection", "check_dataset", "check_detector"]
