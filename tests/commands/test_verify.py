"""What `triptych verify` tells of a run is true, and it touches nothing."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints.damage import DAMAGES, damage
from checkpoints.faults import snapshot
from checkpoints.small import make
from commands.command_line import say, the_line
from training.test_resume import stop_at
from training.tiny import train

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.lock import lock
from triptych.checkpoints.prune import thin
from triptych.commands import resume_proof
from triptych.commands.resume_proof import REMEDY, STEPS, _check_steps, _told_of
from triptych.commands.verify import some
from triptych.data import DataConfig
from triptych.errors import UserError
from triptych.training.state import TrainState

NAMES = ["epoch-00002", "epoch-00004", "epoch-00006"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that is trained to its end, and one that was stopped after its second checkpoint."""
    runs = tmp_path_factory.mktemp("runs")
    assert train(runs, "--training.keep-full", "2") == 0
    with pytest.MonkeyPatch.context() as patched:
        # In the step that ends its fourth epoch: however slow the disk, the save that is due is the last.
        stop_at(patched, 12, lambda training: signal.raise_signal(signal.SIGTERM))
        assert train(runs, name="half") == 75
    return runs


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished one, to do with as one likes."""
    return Path(shutil.copytree(trained / "tiny", tmp_path / "tiny"))


def told(capsys, *tokens) -> str:
    """What a verb prints when all is well."""
    capsys.readouterr()
    assert say("verify", *tokens) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_a_sound_run(run, capsys):
    lines = told(capsys, run).splitlines()
    assert lines[0] == str(run)
    assert [line.split()[:2] for line in lines[1:-1]] == [
        ["epoch-00002", "thinned"],
        ["epoch-00004", "whole"],
        ["epoch-00006", "whole"],
    ]
    assert lines[-1] == "  trained to its end; more epochs would go on from epoch-00006, step 18"


def test_a_run_that_is_not_at_its_end(trained, capsys):
    assert "training goes on from epoch-00004, step 12 of 18" in told(capsys, trained / "half")


def test_several_runs_and_pictures_beside_them(trained, capsys):
    (trained / "bout-tiny-half").mkdir(exist_ok=True)
    printed = told(capsys, *sorted(trained.iterdir()))
    assert [line for line in printed.splitlines() if not line.startswith(" ")] == [
        str(trained / "half"),
        str(trained / "tiny"),
    ]


def test_quiet_and_json(run, capsys):
    assert told(capsys, run, "--quiet") == ""
    capsys.readouterr()
    assert say("verify", run, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["condition"]) for one in found["checkpoints"]] == [
        *zip(NAMES, ["thinned", "whole", "whole"], strict=True)
    ]
    assert (found["run"], found["resumes_from"], found["step"]) == (str(run), "epoch-00006", 18)
    assert found["errors"] == found["unfinished"] == []
    assert found["writer"] is found["proof"] is None


@pytest.mark.parametrize(("how", "reason"), DAMAGES.items())
def test_damage_is_told_and_is_an_error(run, capsys, how, reason):
    damage(run / FOLDER / NAMES[-1], how)
    before = snapshot(run)
    capsys.readouterr()
    assert say("verify", run) == 2
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if NAMES[-1] in line]
    assert re.match(rf"  {NAMES[-1]}  broken   {re.escape(reason)}", line)
    (error,) = printed.err.splitlines()
    assert error.startswith(f"triptych: verify {run}: broken: 1 of 3 checkpoints ({NAMES[-1]}: {reason}")
    assert error.endswith("until then training goes on from epoch-00004")
    assert printed.out.splitlines()[-1].endswith("training goes on from epoch-00004, step 12 of 18")
    assert snapshot(run) == before


def test_where_nothing_is_whole_training_cannot_go_on(run, capsys):
    for name in NAMES:
        (run / FOLDER / name / "state.json").write_bytes(b"")
    assert "broken: 3 of 3 checkpoints" in the_line(capsys, "verify", run, "--quiet")
    assert "train under another --name" in the_line(capsys, "verify", run, "--quiet")
    assert say("verify", run) == 2
    assert "training cannot go on: no checkpoint holds all" in capsys.readouterr().out


def test_averages_alone_are_no_place_to_go_on_from(run, capsys):
    thin(run / FOLDER / NAMES[1])
    thin(run / FOLDER / NAMES[2])
    assert "training cannot go on: no checkpoint holds all" in told(capsys, run)
    assert "no resume to prove" in told(capsys, run, "--resume")


def test_old_ones_that_are_gone_are_told_of_and_not_missed(run, capsys):
    """Whole and thinned ones alike: training goes on without them."""
    shutil.rmtree(run / FOLDER / NAMES[0])
    shutil.rmtree(run / FOLDER / NAMES[1])
    printed = told(capsys, run)
    assert "epoch-00006  whole" in printed
    assert "  gone: epoch-00002, epoch-00004; training does not need" in printed
    assert say("verify", run, "--json", "--quiet") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["gone"] == NAMES[:2]
    assert found["errors"] == []


def test_what_the_rule_removed_is_not_gone(tmp_path, capsys):
    rule = ("--training.keep-full", "1", "--training.keep-every", "4", "--training.keep-best", "0")
    assert train(tmp_path, *rule) == 0
    printed = told(capsys, tmp_path / "tiny")
    assert [line.split()[:2] for line in printed.splitlines()[1:-1]] == [
        ["epoch-00004", "thinned"],
        ["epoch-00006", "whole"],
    ]


def test_in_an_older_record_what_was_thinned_may_have_been_removed(run, capsys):
    record = run / "record.jsonl"
    text, count = re.subn(
        r'"removed": \[\](.*)"thinned": \["', r'"removed": ["epoch-00002"]\1"thinned": ["', record.read_text()
    )
    assert count == 1
    record.write_text(text)
    shutil.rmtree(run / FOLDER / NAMES[0])
    assert "gone" not in told(capsys, run)


def test_of_many_the_first_are_named():
    names = [f"epoch-{epoch:05d}" for epoch in range(5)]
    assert some(names[:3]) == "epoch-00000, epoch-00001, epoch-00002"
    assert some(names) == "epoch-00000, epoch-00001, epoch-00002, and 2 more"


def test_a_run_before_its_first_checkpoint(run, capsys):
    record = run / "record.jsonl"
    record.write_text(record.read_text().splitlines(keepends=True)[0])
    shutil.rmtree(run / FOLDER)
    printed = told(capsys, run, "--resume")
    assert "no checkpoint yet: training begins at its start" in printed
    assert "no resume to prove" in printed


def test_an_imported_model_is_whole_and_has_no_training(tmp_path, capsys):
    assert train(tmp_path, "--training.epochs", "1", kind="unet") == 0
    assert say("export", tmp_path / "tiny", "--out", tmp_path / "out", "--quiet") == 0
    assert say("import", tmp_path / "out", "--runs", tmp_path, "--name", "imported", "--quiet") == 0
    printed = told(capsys, tmp_path / "imported", "--resume")
    assert "epoch-00000  whole" in printed
    assert "imported: there is no training to go on with" in printed
    assert "no resume to prove" in printed


def test_unfinished_saves_are_told_of_and_left(run, capsys):
    writing = run / FOLDER / ".writing" / "epoch-00008.77.abcdef00"
    writing.mkdir(parents=True)
    (run / FOLDER / NAMES[2] / "ema.2.safetensors").touch()
    printed = told(capsys, run)
    assert "unfinished: .writing/epoch-00008.77.abcdef00; the next start clears it away" in printed
    assert "unfinished: epoch-00006/ema.2.safetensors" in printed
    with lock(run):
        printed = told(capsys, run)
    assert re.search(r"unfinished: .writing/epoch-00008.77.abcdef00; process \d+ on .* is at it", printed)
    assert writing.is_dir()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("record.jsonl", b"{}\n", "record.jsonl, line 1"),
        ("record.jsonl", None, "no record.jsonl in it"),
        ("config.yaml", None, "its config.yaml cannot be read"),
        ("config.yaml", b"\xff\xfe", "its config.yaml cannot be read"),
        ("config.yaml", b"a: [", "config.yaml"),
    ],
)
def test_what_training_needs_besides_is_looked_at_too(run, capsys, name, content, told):
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)
    assert told in the_line(capsys, "verify", run, "--quiet")
    assert say("verify", run) == 2
    assert "epoch-00006  whole" in capsys.readouterr().out  # all the same


def test_what_is_wrong_with_several_runs_is_one_line(run, trained, tmp_path, capsys):
    other = Path(shutil.copytree(trained / "half", tmp_path / "half"))
    damage(run / FOLDER / NAMES[1], "without manifest")
    damage(other / FOLDER / NAMES[0], "truncated")
    line = the_line(capsys, "verify", run, other, "--quiet")
    assert f"verify {run}: broken: 1 of 3" in line
    assert f"verify {other}: broken: 1 of 2" in line
    assert line.startswith("triptych: 2 faults: ")


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        ((), "no run given"),
        (("{place}/nothing",), "there is no such folder"),
        (("{place}",), "no record.jsonl in it"),
        (("{place}/tiny", "--resume", "--device", "abacus"), "finds no such device"),
    ],
)
def test_what_was_mistyped(run, tmp_path, capsys, tokens, told):
    assert told in the_line(capsys, "verify", *(token.format(place=tmp_path) for token in tokens))


def test_torch_is_not_loaded_for_it(run):
    code = "import sys; from triptych.cli import main; main(); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "verify", str(run)], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"epoch-00006  whole" in done.stdout


def everything(folder: Path) -> dict[str, tuple]:
    """All below a folder, folders too, with the times at which it was changed."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {str(path): (path.is_dir() or path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("name", ["tiny", "half"])
def test_the_resume_is_proved_without_a_trace(trained, tmp_path, capsys, name, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    folder = Path(shutil.copytree(trained / name, tmp_path / name))
    (folder / ".lock").unlink()
    (folder / FOLDER / ".writing").mkdir()
    before = everything(folder)
    printed = told(capsys, folder, "--resume").splitlines()[-1]
    assert re.match(r"  proved: epoch-\S+ goes into a fresh training and back to disk bit by bit \(", printed)
    assert printed.endswith("2 steps from it, taken twice on cpu, are equal bit by bit")
    assert everything(folder) == before
    assert list(temporary.iterdir()) == []
    capsys.readouterr()
    assert say("verify", folder, "--resume", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["proof"]["steps"], found["proof"]["apart"]) == (STEPS, 0)
    assert found["proof"]["step"] == {"tiny": 18, "half": 12}[name]
    assert found["proof"]["parts"] >= 3 and found["proof"]["tensors"] > 100


def test_the_newest_whole_one_is_what_is_proved(run, capsys):
    damage(run / FOLDER / NAMES[2], "bit flipped")
    capsys.readouterr()
    assert say("verify", run, "--resume") == 2
    printed = capsys.readouterr()
    assert "proved: epoch-00004 goes" in printed.out
    assert "broken: 1 of 3 checkpoints" in printed.err


def not_proved(run: Path, capsys) -> str:
    """The one line that says why a resume is not proved."""
    line = the_line(capsys, "verify", run, "--resume", "--quiet")
    assert str(run) in line and "triptych-verify" not in line
    return line


@pytest.mark.parametrize(
    ("forget", "told"),
    [
        (lambda state: state.best.clear(), "state.best is"),
        (lambda state: setattr(state, "salt", state.salt + 1), "state.salt is 0 and 1"),
        (lambda state: state.optimizer.state.clear(), "optimizer: only one has"),
        (lambda state: next(state.network.parameters()).data.neg_(), "weights: "),
        (lambda state: next(state.ema.parameters()).data.neg_(), "ema: "),
        (lambda state: setattr(state, "threads", 7), "state.threads is 1 and 7"),
    ],
)
def test_whatever_a_resume_forgets_is_noticed(
    run, capsys, monkeypatch, forget: Callable[[TrainState], object], told: str
):
    honest = TrainState.restore

    def forgetful(self: TrainState, contents: Contents) -> None:
        honest(self, contents)
        forget(self)

    monkeypatch.setattr(TrainState, "restore", forgetful)
    line = not_proved(run, capsys)
    assert f"once restored and saved again, {told}" in line
    assert REMEDY in line


def test_steps_that_do_not_end_the_same_are_noticed(run, capsys, monkeypatch):
    honest, taken = torch.optim.AdamW.step, []

    def drifting(self, *args, **options):
        honest(self, *args, **options)
        taken.append(1)
        with torch.no_grad():
            self.param_groups[0]["params"][0].mul_(1 + 1e-6 * len(taken))

    monkeypatch.setattr(torch.optim.AdamW, "step", drifting)
    assert f"{STEPS} steps from it, taken twice on cpu, end differently" in not_proved(run, capsys)
    assert len(taken) == 2 * STEPS


def test_without_images_the_rest_is_proved(run, capsys, monkeypatch):
    def never(*args):
        raise AssertionError("images were loaded after all")

    monkeypatch.setattr(DataConfig, "at_hand", lambda self: False)
    monkeypatch.setattr(DataConfig, "load", never)
    printed = told(capsys, run, "--resume")
    assert "bit by bit" in printed
    assert printed.endswith(
        "no step was taken, since its images are not at hand (say with --data.path where)\n"
    )


def test_other_images_are_refused_as_in_training(run, capsys, tmp_path):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("name: digits", "name: mine"))
    (tmp_path / "images").mkdir()
    line = not_proved_with(run, capsys, "--data.path", tmp_path / "images")
    assert str(tmp_path / "images") in line


def not_proved_with(run: Path, capsys, *tokens: object) -> str:
    return the_line(capsys, "verify", run, "--resume", "--quiet", *tokens)


def test_a_full_temporary_folder_is_told_as_such(run, capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume_proof, "_copy_checkpoint", full)
    line = the_line(capsys, "verify", run, "--resume", "--quiet")
    assert "No space left on device" in line and "TMPDIR" in line


def test_a_run_that_changes_meanwhile_is_told_as_such(tmp_path):
    asked = "epoch-00001/ema.safetensors"
    with (
        pytest.raises(UserError, match="training may go on there: give the command again"),
        _told_of(tmp_path / "run", tmp_path / "a" / "b", tmp_path / "c" / "d"),
    ):
        (tmp_path / "run" / asked).read_bytes()


def test_a_device_that_adds_in_another_order_is_given_some_room(tmp_path):
    near, far = make(1), make(1)
    near.tensors["weights"]["w"] = near.tensors["weights"]["w"] * (1 + 1e-5)
    far.tensors["weights"]["w"] = far.tensors["weights"]["w"] * 1.01
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    checkpoint = tmp_path / "run" / FOLDER / "epoch-00001"
    assert _check_steps(checkpoint, make(1), make(1), gpu) == 0
    assert 0 < _check_steps(checkpoint, make(1), near, gpu) < 1e-4
    for other, device in ((far, gpu), (near, cpu)):
        with pytest.raises(UserError, match="weights: w differs in 6 of 6 values"):
            _check_steps(checkpoint, make(1), other, device)
