"""How many operations a step starts, told without a device that could start them."""

import count_operations
import pytest
from backbones.small import SHALLOW


@pytest.fixture(scope="module")
def counts():
    """Return the counts of every small network by file, with draws by operations and by kernels."""
    return {
        kind: [count_operations.counted(config, 8, fused_draws=fused) for fused in (False, True)]
        for kind, config in SHALLOW.items()
    }


@pytest.mark.parametrize("kind", SHALLOW)
def test_operations_are_told_by_the_file_that_asks_for_them(kind, counts):
    plain, fused = counts[kind]
    own = {"unet": "backbones/unet.py", "dit": "backbones/dit.py", "dim": "backbones/state_space/mixer.py"}
    for found in (plain, fused):
        assert found[own[kind]] > 0
        assert found["training/step.py"] > 50
        assert found["training/ema.py"] <= 10  # of both averages
        assert found["training/guard.py"] < 60
        assert "elsewhere" not in found
    assert plain["philox/reference.py"] > 400
    assert "philox/reference.py" not in fused
    assert fused["random.py"] < 40


def test_the_same_step_starts_as_many_again(counts):
    assert count_operations.counted(SHALLOW["dit"], 8) == counts["dit"][0]


def test_every_backbone_is_told(capsys, monkeypatch):
    monkeypatch.setattr(count_operations, "full_networks", lambda: SHALLOW)
    monkeypatch.setattr(count_operations.counted, "__defaults__", (8,))
    assert count_operations.main(["--fused-draws", "--dropout", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(SHALLOW)
    assert all(" operations (" in line for line in lines)
