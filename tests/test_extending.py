"""What docs/extending.md adds is added to a copy of the project, as a reader would do it, and tried there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from triptych.cache_place import cache_folder
from triptych.record.events import Evaluated
from triptych.record.record import Record

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COPIED = ("src", "tests", "scripts", "benchmarks", "docs", "pyproject.toml")

SHORT = {
    "train": ("--training.max-steps", "5", "--training.preview-every", "0", "--sampling.per-class", "1"),
    "evaluate": ("--count", "20", "--force", "--quiet"),
}
"""Of what takes the page's reader minutes: whether it works, not how good it becomes."""

IN_TURN = """
import json, sys
from triptych.cli import main
for command in json.load(sys.stdin):
    if (code := main(command)) != 0:
        sys.exit(f"{command} ended with {code}")
"""


class Block(NamedTuple):
    """A block of code of the page."""

    language: str
    file: str
    text: str


TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = [Block(*found) for found in BLOCK.findall(TEXT)]


def put_in(text: str, diff: str) -> str:
    """Return a file's text after a change that is written as its lines, each with a sign before it."""
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if line[0] in " -")
    after = "\n".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"not once in the file:\n{before}"
    return text.replace(before, after)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a copy of the project to which everything that the page adds has been added."""
    copy = tmp_path_factory.mktemp("project")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    for block in BLOCKS:
        if block.file:
            place = copy / block.file
            if block.language == "diff":
                place.write_text(put_in(place.read_text(encoding="utf-8"), block.text), encoding="utf-8")
            else:
                assert not place.exists()
                place.write_text(block.text, encoding="utf-8")
    (copy / "cache").mkdir()
    for known in cache_folder().glob("classifier-*"):  # which would take its time to be trained again
        shutil.copy(known, copy / "cache")
    return copy


def call(project, *command, given=""):
    path = os.pathsep.join([str(project / "src"), str(project / "tests")])
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = outer | {"PYTHONPATH": path, "TRIPTYCH_CACHE": str(project / "cache")}
    command = [sys.executable, *command]
    done = subprocess.run(command, cwd=project, env=environment, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_added_is_as_well_written_as_the_rest(project):
    added = [block.file for block in BLOCKS if block.file.endswith(".py")]
    call(project, "-m", "ruff", "check", *added)
    call(project, "-m", "ruff", "format", "--check", *added)
    call(project, "-m", "ty", "check", "--python", sys.executable, "src")
    call(project, "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-logo'])")


def test_the_commands_of_the_page_do_what_it_says(project):
    typed = [line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines()]
    commands = [shlex.split(line) for line in typed]
    assert {command[0] for command in commands} == {"triptych"}
    assert {command[1] for command in commands} == {"info", "train", "sample", "evaluate", "report"}
    short = [[*rest, *SHORT.get(rest[0], ())] for _, *rest in commands]
    told = call(project, "-c", IN_TURN, given=json.dumps(short))
    assert "convmixer" in told
    assert "midpoint:10" in told
    assert "ConvMixer" in (project / "EXPERIMENTS.md").read_text(encoding="utf-8")
    assert Record.of_run(project / "runs" / "shapes-unet").history().started.data.name == "shapes"
    rows = Record.of_run(project / "runs" / "digits-convmixer").history().of_kind(Evaluated)
    assert "vendi_classifier" in [figure.metric for row in rows for figure in row.data.figures]


TRIED = (
    "tests/backbones/test_every_backbone.py",
    "tests/data/test_data_config.py",
    "tests/metrics/test_features.py",
    "tests/metrics/test_vendi.py",
    "tests/report/test_names.py",
    "tests/sampling/test_orders.py",
    "tests/test_evaluation_page.py",
    "tests/test_every_combination.py",
    "tests/training/test_every_backbone_resumes.py",
)
NEW = ("convmixer", "midpoint", "vendi", "shapes")
ASKED = ("every_kind", "every_listed_name", "every_metric_has_its_line", "every_backbone_has_a_name")
"""Tests that ask whether all that must be said of a part was said."""


def test_what_was_added_is_tested_by_being_listed(project):
    pages = [name for text in re.findall(r'`make test ARGS="([^"]+)"`', TEXT) for name in text.split()]
    assert all((project / page).exists() for page in pages)
    assert not [name for name in TRIED if not any(name.startswith(page) for page in pages)]
    told = call(
        project, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "-k", " or ".join(NEW + ASKED), *TRIED
    )
    for name in (*ASKED, "-convmixer]", "[midpoint-", "[vendi_classifier]", "[shapes]"):
        assert name in told, name
