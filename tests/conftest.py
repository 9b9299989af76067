"""Settings of all tests."""

import pytest
import torch

# Several threads on tensors as small as those of most tests take longer than one.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory):
    """Keep features and images where the tests' other files are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
