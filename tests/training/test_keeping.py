"""Which checkpoints a run keeps: the newest, the best of evaluations, pinned ones."""

from training.tiny import train

from triptych.checkpoints.find import FOLDER
from triptych.cli import main


def kept(runs):
    return {path.name for path in (runs / "tiny" / FOLDER).glob("epoch-*")}


def test_what_evaluations_chose_outlives_the_rule(tmp_path, capsys):
    """Only the newest would be kept of every checkpoint; one was evaluated, and one is pinned."""
    none = ("--training.checkpoint-every", "1", "--training.keep-full", "1", "--training.keep-every", "999")
    none += ("--training.keep-best", "0", "--training.preview-every", "0")
    assert train(tmp_path, *none, "--training.max-steps", "6", "--training.keep-full", "9") == 0
    assert {"epoch-00001", "epoch-00002"} <= kept(tmp_path)
    asked = ["--checkpoint", "epoch-1", "--sampler", "ddim:2", "--count", "70", "--guidance", "1"]
    assert main(["evaluate", str(tmp_path / "tiny"), *asked]) == 0
    assert train(tmp_path, *none, "--training.max-steps", "9") == 0
    (tmp_path / "tiny" / FOLDER / "epoch-00003" / "pinned").touch()
    assert train(tmp_path, *none, "--training.max-steps", "12") == 0
    newest = max(kept(tmp_path))
    assert newest.startswith("epoch-00004")
    assert kept(tmp_path) == {"epoch-00001", "epoch-00003", newest}
