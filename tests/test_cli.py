"""The command line: quick answers without torch, one line for every mistake."""

import subprocess
import sys

import pytest
from training.tiny import train

from triptych.cli import main
from triptych.commands import VERBS

WITHOUT_TORCH = (
    "import sys; from triptych.cli import main; code = main({}); print('torch' in sys.modules, code)"
)


def lines(capsys):
    return capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize(
    ("tokens", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["trian"], 2),
        (["train"], 2),
        (["train", "digits-unett"], 2),
        (["train", "no/such/file.yaml"], 2),
        (["train", "digits-unet", "--max-minutes", "x"], 2),
        (["sample"], 2),
        (["sample", "runs/x", "--seeed", "1"], 2),
        (["report"], 2),
        (["info"], 2),
        (["info", "digits-unett"], 2),
        (["import"], 2),
        (["export", "runs/x"], 2),
    ],
)
def test_answers_without_loading_torch(tokens, code):
    out = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH.format(tokens)], capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines()[-1] == f"False {code}"
    assert len(out.stderr.strip().splitlines()) == (1 if code else 0)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"triptych {verb}" in capsys.readouterr().out


def test_help_of_a_recipe_lists_its_fields(capsys):
    with pytest.raises(SystemExit):
        main(["train", "digits-unet", "--help"])
    shown = capsys.readouterr().out
    assert "--training.learning-rate" in shown
    assert "--backbone.width" in shown
    assert "2e-3" in shown.replace("0.002", "2e-3")  # the recipe's learning rate, not the class's default


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["--training.epoch", "5"], "perhaps you meant --training.epochs"),
        (["--training.epochs", "five"], "digits-unet --training.epochs five: not a whole number; see `tri"),
        (["--training.epochs"], "triptych train digits-unet --training.epochs: no value follows; see"),
        (["--training.learning-rate", "x"], "--training.learning-rate x: not a number; see"),
        (["--training.max-steps", "x"], "--training.max-steps x: neither a whole number nor None; see"),
        (["--training.preview-classes", "1", "x"], "--training.preview-classes 1 x: not what it takes; see"),
        (
            ["--training.compile", "maybe"],
            "--training.compile maybe: no such choice; choose from False, True, auto",
        ),
        (["--max-minutes", "x"], "triptych train --max-minutes x: neither a number nor None; see"),
        (["--training.epochs", "-1"], "choose 1 or more"),
        (["--training.label-drop", "1.5"], "out of range"),
        (["--backbone.kind", "cnn"], "choose from unet"),
        (["--backbone.kind", "dit"], "choose a recipe of a dit"),
        (["--backbone.width", "30"], "not a multiple"),
        (
            ["--backbone.state", "4"],
            "--backbone.state is a field of dim, and its backbone is a unet; leave it out",
        ),
        (["--backbone.long_skips=True"], "choose a recipe of a dit or dim"),
        (["--sampling.per-class", "0"], "sampling.per-class 0: less than 1"),
        (["--sampling.guidance", "nan"], "sampling.guidance nan: out of range"),
        (["--backbone.multipliers", "1", "2", "2", "2", "2"], "cannot be halved"),
        (["--backbone.attention", "5"], "they have 8, 4 pixels"),
        (["--data.name", "cifar11"], "no such data set"),
        (["--diffusion.schedule", "quadratic"], "choose from linear, "),
        (["--seed", "-1"], "2^32"),
        (["--name", "../x"], "no name for a run's folder"),
        (["--device", "cuda:99"], "choose auto or cpu"),
        (["--training.preview-sampler", "oiler:5"], "no such sampler"),
    ],
)
def test_bad_fields_are_one_line_and_leave_nothing(overrides, told, tmp_path, capsys):
    code = main(["train", "digits-unet", "--runs", str(tmp_path / "runs"), "--quiet", *overrides])
    assert code == 2
    (line,) = lines(capsys)
    assert line.startswith("triptych: ")
    assert told in line
    assert not list(tmp_path.rglob("record.jsonl"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("training: [", "line 1"),
        ("- a\n- b", "holds no fields"),
        ("training:\n  epochz: 3", "epochs"),
        ("backbone:\n  width: wide", "--backbone.width wide: not a whole number"),
        ("!!python/object/apply:os.system ['touch {out}']", "constructor"),
    ],
)
def test_bad_recipe_files_are_one_line_and_run_nothing(text, told, tmp_path, capsys):
    out = tmp_path / "executed"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text.format(out=out) if "{out}" in text else text)
    assert main(["train", str(recipe), "--runs", str(tmp_path / "runs"), "--quiet"]) == 2
    (line,) = lines(capsys)
    assert told in line
    assert not out.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of runs with a conditional one, `tiny`, and an unconditional one, `free`."""
    runs = tmp_path_factory.mktemp("runs")
    assert train(runs) == 0
    assert train(runs, "--conditional", "False", name="free") == 0
    return runs


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["sample", "{runs}/none"], "there is no such folder"),
        (["sample", "{runs}"], "no record.jsonl in it"),
        (["sample", "{runs}/tiny", "--checkpoint", "epoch-7"], "name one of"),
        (["sample", "{runs}/tiny", "--checkpoint", "best-fid"], "no evaluation has chosen one"),
        (["sample", "{runs}/tiny", "--sampler", "oiler"], "choose from"),
        (["sample", "{runs}/tiny", "--sampler", "ddim:5", "--steps", "6"], "two values of steps"),
        (["sample", "{runs}/tiny", "--eta", "2"], "0 <= eta <= 1"),
        (["sample", "{runs}/tiny", "--classes", "ten"], "no such class"),
        (["sample", "{runs}/tiny", "--count", "0"], ": --count 0: less than 1"),
        (["sample", "{runs}/tiny", "--per-class", "0"], ": --per-class 0: less than 1"),
        (["sample", "{runs}/tiny", "--batch-size", "-2"], ": --batch-size -2: less than 1"),
        (["sample", "{runs}/tiny", "--per-class", "1", "--count", "3"], "give one of them"),
        (["sample", "{runs}/tiny", "--guidance", "-1"], "out of range"),
        (["sample", "{runs}/free", "--guidance", "3"], "unconditional"),
        (["sample", "{runs}/free", "--per-class", "3"], "unconditional"),
        (["sample", "{runs}/tiny", "--seed", "-5"], "out of range"),
        (["evaluate", "{runs}/free", "--guidance", "3"], "unconditional"),
        (["evaluate", "{runs}/tiny", "--count", "10"], "takes at least"),
        (["evaluate", "{runs}/tiny", "--batch-size", "0"], ": --batch-size 0: less than 1"),
        (["import", "{runs}/tiny", "--heads", "0"], ": --heads 0: less than 1"),
        (["report", "{runs}/none"], "there is no such folder"),
        (["report", "{runs}/tiny", "--language", "fr"], "fr"),
    ],
)
def test_bad_requests_to_a_run_are_one_line(tokens, told, trained, capsys):
    record = (trained / "tiny" / "record.jsonl").read_bytes()
    assert main([token.format(runs=trained) for token in tokens]) == 2
    (line,) = lines(capsys)
    assert told in line
    assert (trained / "tiny" / "record.jsonl").read_bytes() == record


def test_a_report_replaces_reports_alone(trained, tmp_path, capsys):
    out = tmp_path / "README.md"
    out.write_text("# Mine\n")
    assert main(["report", str(trained / "tiny"), "--out", str(out)]) == 2
    (line,) = lines(capsys)
    assert "another kind" in line
    assert out.read_text() == "# Mine\n"
    out.unlink()
    for _ in range(2):
        assert main(["report", str(trained / "tiny"), "--out", str(out), "--quiet"]) == 0


def test_a_run_of_another_configuration_is_not_touched(trained, capsys):
    before = (trained / "tiny" / "config.yaml").read_bytes()
    assert train(trained, "--backbone.width", "16") == 2
    (line,) = lines(capsys)
    assert "--backbone.width 16" in line
    assert "it was trained with 8" in line
    assert (trained / "tiny" / "config.yaml").read_bytes() == before


def test_a_run_that_is_being_written_is_locked(trained, capsys):
    holder = (
        "import sys; from pathlib import Path; from triptych.checkpoints.lock import lock\n"
        "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(trained / "tiny")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert train(trained, "--training.epochs", "7") == 2
        (line,) = lines(capsys)
        assert f"process {process.pid}" in line
        process.stdin.close()
        process.wait()


def test_a_device_that_runs_out_of_memory_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    import torch

    from triptych.training.loss import StepLoss

    def exhausted(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ...")

    monkeypatch.setattr(StepLoss, "forward", exhausted)
    assert train(tmp_path) == 2
    assert [line.partition(";")[0] for line in lines(capsys)] == [
        "triptych: out of memory on the device: CUDA out of memory"
    ]


def test_a_signal_while_the_last_step_is_saved_stops_before_the_next_recipe(tmp_path, monkeypatch):
    """SIGTERM in the last save of the first of two recipes: nothing else begins."""
    import signal

    from training.tiny import SIZES, TINY

    from triptych.recipe_files import find_recipe
    from triptych.training.loop import Training

    honest = Training._save

    def save(self):
        honest(self)
        if self.state.step == self.clock.total_steps:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Training, "_save", save)
    recipes = [tmp_path / f"{name}.yaml" for name in ("first", "second")]
    for recipe in recipes:
        recipe.write_text(find_recipe("digits-unet")[1])
    own = ["--runs", str(tmp_path / "runs"), "--quiet", "--training.max-steps", "2"]
    assert main(["train", *map(str, recipes), *own, *SIZES["unet"], *TINY]) == 75
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"first"}


def test_a_signal_while_images_are_made_ready_ends_the_program_at_once(tmp_path, monkeypatch, capsys):
    """Nothing is there to be saved yet, and a download of minutes would go on unasked."""
    import signal

    from triptych.commands.ready import Ready

    monkeypatch.setattr(Ready, "of", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    # A shell has what it starts in the background ignore Ctrl-C, and these tests may be that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert train(tmp_path) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert lines(capsys) == ["triptych: interrupted"]
    assert not (tmp_path / "tiny").exists()
