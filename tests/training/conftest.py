"""What several tests of training start from."""

import pytest
from training.tiny import train


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The tiny run, left alone: to be read and copied, never changed."""
    runs = tmp_path_factory.mktemp("whole")
    assert train(runs) == 0
    return runs
