import itertools
import subprocess
import sys
from fractions import Fraction

import pytest

from anomalib_flows.core.types import content_size

EDGES = [1, 2, 3, 5, 31, 64, 100, 199, 256, 333, 1024, 4097]


@pytest.mark.parametrize("size", [(256, 256), (32, 48), (33, 7), (1, 500)])
def test_padding_scales_by_the_exact_smaller_ratio(size):
    for height, width in itertools.product(EDGES, repeat=2):
        scale = min(Fraction(size[0], height), Fraction(size[1], width))
        exact = tuple(max(1, round(edge * scale)) for edge in (height, width))
        assert content_size(height, width, size, "pad") == exact
        assert content_size(height, width, size, "stretch") == size


def test_geometry_and_images_need_no_torch():
    code = "import sys; sys.modules['torch'] = None; import anomalib_flows.core.types, anomalib_flows.core.images"
    subprocess.run([sys.executable, "-c", code], check=True)
