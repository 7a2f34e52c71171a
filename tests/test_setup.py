"""The set-up: which torch a machine gets, when something is installed, and what the user is told."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import environment
import pytest
import requirements
import tasks
import torch_build
from environment import Environment, Stamp
from setup_error import SetupError
from torch_build import Gpu, TorchBuild

from benchmarks import peers

ROOT = Path(__file__).resolve().parent.parent
ENTRY = ROOT / "scripts" / "make.py"

PASCAL, VOLTA = Gpu((6, 1), 535), Gpu((7, 0), 580)
TURING, HOPPER = Gpu((7, 5), 580), Gpu((9, 0), 590)
HOPPER_WITH_OLD_DRIVER = Gpu((9, 0), 550)

CPU = TorchBuild("cpu", cuda=False)
PLAIN = TorchBuild("", cuda=False)
CUDA = TorchBuild("", cuda=True)
CU126 = TorchBuild("cu126", cuda=True)
CU130 = TorchBuild("cu130", cuda=True)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("PYTHON", "VENV", "TORCH", "TORCH_INDEX"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("wish", "system", "gpus", "build"),
    [
        ("auto", "Linux", [], CPU),
        ("auto", "Windows", [], CPU),
        ("auto", "Darwin", [], PLAIN),
        ("auto", "Linux", [TURING], CUDA),
        ("auto", "Linux", [HOPPER] * 8, CUDA),
        ("auto", "Windows", [TURING], CU130),
        ("auto", "Linux", [PASCAL], CU126),
        ("auto", "Linux", [HOPPER, VOLTA], CU126),
        ("auto", "Windows", [VOLTA], CU126),
        ("auto", "Linux", [HOPPER_WITH_OLD_DRIVER], CU126),
        ("auto", "Linux", [Gpu()], CU126),
        ("cpu", "Linux", [HOPPER], CPU),
        ("cpu", "Darwin", [], PLAIN),
        ("cuda", "Linux", [], CUDA),
        ("cuda", "Linux", [VOLTA], CU126),
        ("cuda", "Windows", [], CU130),
        ("cu126", "Linux", [HOPPER], CU126),
        ("cu130", "Linux", [VOLTA], CU130),
    ],
)
def test_the_build_of_torch_fits_the_machine(wish, system, gpus, build):
    assert torch_build.choose(wish, system, gpus) == build


@pytest.mark.parametrize(("wish", "system"), [("gpu", "Linux"), ("cu12", "Linux"), ("cuda", "Darwin")])
def test_a_build_that_does_not_exist_is_refused(wish, system):
    with pytest.raises(SetupError, match=f"^TORCH={wish}: "):
        torch_build.choose(wish, system, [])


def test_a_tagged_build_is_looked_for_where_pip_looks_and_then_at_pytorch():
    assert CPU.requirement == f"torch=={torch_build.VERSION}+cpu"
    assert CPU.sources() == [[], ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]]
    assert CUDA.requirement == f"torch=={torch_build.VERSION}"
    assert CUDA.sources() == [[]]


def test_a_mirror_takes_the_place_of_pytorchs_index(tmp_path):
    mirror = "https://mirror.example/cpu"
    assert CPU.sources(mirror) == [["--extra-index-url", mirror, "--find-links", mirror]]
    assert CPU.sources(str(tmp_path)) == [["--find-links", str(tmp_path)]]


def fake_program(folder: Path, name: str, code: str) -> Path:
    """Put a program on this system's terms into `folder` that runs `code` in Python."""
    source = folder / f"{name}.py"
    source.write_text(code)
    program = folder / (f"{name}.bat" if os.name == "nt" else name)
    line = f'"{sys.executable}" "{source}"'
    program.write_text(f"@{line} %*\n" if os.name == "nt" else f'#!/bin/sh\nexec {line} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("listing", "query", "code", "gpus"),
    [
        ("GPU 0: NVIDIA H100", "9.0, 590.48.01", 0, [HOPPER]),
        ("GPU 0: Tesla V100\nGPU 1: TITAN Xp", "7.0, 580.95.05\n6.1, 535.104", 0, [VOLTA, PASCAL]),
        ("GPU 0: Tesla K80", "Field 'compute_cap' is not a valid field to query.", 0, [Gpu()]),
        ("No devices found.", "", 0, []),
        ("NVIDIA-SMI has failed", "", 9, []),
    ],
)
def test_gpus_are_read_from_nvidia_smi(tmp_path, monkeypatch, listing, query, code, gpus):
    answer = f"print({listing!r} if sys.argv[1] == '-L' else {query!r})"
    fake_program(tmp_path, "nvidia-smi", f"import sys\n{answer}\nsys.exit({code})")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert torch_build.visible_gpus() == gpus


def test_without_nvidia_smi_there_are_no_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert torch_build.visible_gpus() == []


class Machine:
    """A machine on which nothing is really installed: what would have been is written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path):
        self.folder = folder
        self.gpus: list[Gpu] = []
        self.trouble: str | None = None
        self.done: list[str] = []
        monkeypatch.setattr(torch_build, "visible_gpus", lambda: self.gpus)
        monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
        monkeypatch.setattr(environment, "_create", self.create)
        monkeypatch.setattr(environment, "_pip", self.pip)
        monkeypatch.setattr(environment, "_check_cuda", lambda *_: self.done.append("check cuda"))
        monkeypatch.setattr(Environment, "has_pip", lambda _: True)

    def create(self, folder: Path) -> None:
        self.done.append("create")
        python = Environment.of_folder(folder).python
        python.parent.mkdir(parents=True)
        python.touch()

    def pip(self, _: Environment, action: str, *arguments: str) -> str | None:
        wanted = [part for part in arguments if part.startswith("torch") or part.endswith("]")]
        self.done.append(" ".join([action, *wanted]).replace(str(environment.ROOT), "."))
        return self.trouble

    def setup(self, *extras: str) -> list[str]:
        """Return what setting up did."""
        self.done.clear()
        environment.install(self.folder, extras)
        return list(self.done)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    return Machine(monkeypatch, tmp_path / "venv")


def test_installing_is_done_once(machine):
    torch = CPU.requirement
    assert machine.setup("plots") == ["create", f"install {torch}", f"install {torch} .[plots]"]
    assert machine.setup("plots") == []


def test_extras_are_added_and_never_taken_away(machine):
    machine.setup("plots")
    assert machine.setup("test")[-2].endswith(".[plots,test]")
    assert machine.setup("plots") == []


def test_what_may_not_lie_beside_the_others_goes_into_a_folder_of_its_own(machine, monkeypatch):
    assert machine.setup("test")[-1] == "install torch-fidelity"
    asked = []
    monkeypatch.setattr(environment, "_pip", lambda _, *words: asked.append(words))
    environment._install_apart(None, machine.folder, Stamp(CPU, ("plots", "test"), ""))
    ((action, *words),) = asked
    assert action == "install" and "--no-deps" in words and "-c" in words
    assert words[words.index("--target") + 1] == str(machine.folder / peers.APART_FOLDER)


def test_what_lies_apart_is_pinned_and_of_no_extra():
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    for package in environment.APART["test"]:
        assert [line for line in pins if line.startswith(f"{package}==")]
        assert not [wanted for wanted in requirements.of_project(ROOT, ["dev"]) if wanted.startswith(package)]


def test_another_pin_is_installed_into_the_same_environment(machine, monkeypatch, tmp_path):
    machine.setup("plots")
    pins = tmp_path / "constraints.txt"
    pins.write_text("numpy==2.4.5\n")
    monkeypatch.setattr(environment, "CONSTRAINTS", pins)
    assert machine.setup("plots") == [f"install {CPU.requirement}", f"install {CPU.requirement} .[plots]"]


def test_a_gpu_that_appears_exchanges_the_build(machine):
    machine.setup()
    machine.gpus = [HOPPER]
    done = machine.setup()
    assert done[:3] == ["uninstall torch", f"install {CUDA.requirement}", "check cuda"]


def test_a_cuda_build_stays_where_the_gpu_is_out_of_sight(machine, monkeypatch):
    machine.gpus = [HOPPER]
    machine.setup()
    machine.gpus = []
    assert machine.setup() == []
    monkeypatch.setenv("TORCH", "cpu")
    assert machine.setup()[0] == f"install {CPU.requirement}"


def test_an_installation_that_fails_is_tried_again(machine):
    machine.setup("plots")
    machine.trouble = "a package index cannot be reached"
    with pytest.raises(SetupError, match=r"^installing torch.*cannot be reached"):
        machine.setup("test")
    machine.trouble = None
    assert machine.setup("plots")[0] == f"install {CPU.requirement}"


def test_another_python_that_is_asked_for_makes_the_environment_anew(machine, monkeypatch):
    machine.setup()
    settings = machine.folder / "pyvenv.cfg"
    monkeypatch.setenv("PYTHON", "python3")
    settings.write_text("home = /usr/bin\nversion = {}.{}.{}\n".format(*sys.version_info))
    assert machine.setup() == []
    settings.write_text("home = /usr/bin\nversion = 3.1.4\n")
    monkeypatch.setattr(Machine, "create", lambda self, _: self.done.append("create"))
    monkeypatch.setattr(environment, "_create", machine.create)
    assert machine.setup()[0] == "create"


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SetupError, match="that folder holds other things; name a new or an empty one"):
        environment.install(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_python_without_ensurepip_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"has no venv and no ensurepip; install it .*apt install python3"):
        environment._create(tmp_path / "venv")


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for torch==2.13.0+cpu",
            "pip says: No matching distribution found for torch==2.13.0+cpu",
        ),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'Error'\nERROR: no such",
            "a package index cannot be reached",
        ),
        ("Killed", "pip failed"),
    ],
)
def test_what_pip_said_is_told_in_a_few_words(stderr, told):
    assert environment._trouble(stderr) == told


def test_a_stamp_that_cannot_be_read_counts_for_nothing(tmp_path):
    stamp = Stamp(CPU, ("plots",), "digest")
    stamp.write(tmp_path)
    assert Stamp.read(tmp_path) == stamp
    (tmp_path / environment.STAMP).write_text('{"torch": "2.13"}')
    assert Stamp.read(tmp_path) is None


def test_what_a_borrowed_python_lacks_is_listed():
    wanted = ["pytest>=1.0", "pytest>=999.1", "no-such-package>=2", "ty==0"]
    short = requirements.lacking(wanted)
    assert short[0].startswith("pytest 999.1 (") and short[1:] == ["no-such-package"]


def test_a_borrowed_python_gets_the_sources_and_installs_nothing(monkeypatch):
    monkeypatch.setattr(environment, "_pip", lambda *_: pytest.fail("installed something"))
    monkeypatch.setattr(requirements, "version", lambda name: "999")
    monkeypatch.setenv("VENV", "none")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    borrowed = environment.prepare(["test"])
    assert borrowed.python == Path(sys.executable)
    assert borrowed.variables["PYTHONPATH"].split(os.pathsep) == [str(ROOT / "src"), "elsewhere"]


def test_a_borrowed_python_that_lacks_something_is_refused(monkeypatch):
    monkeypatch.setenv("VENV", "none")
    monkeypatch.setattr(requirements, "version", lambda name: "2.9.1+cu126" if name == "torch" else "999")
    with pytest.raises(SetupError, match=r"lacks torch 2\.11 \(2\.9\.1\+cu126 found\); install them there"):
        environment.prepare([])


def run_entry(*arguments: str, pretend: str = "", **variables: str) -> subprocess.CompletedProcess:
    code = f"import runpy, sys\n{pretend}\nsys.argv[:] = {[str(ENTRY), *arguments]!r}\n"
    code += f"sys.path.insert(0, {str(ENTRY.parent)!r})\nrunpy.run_path({str(ENTRY)!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | variables
    )


def test_an_unknown_chore_is_one_line_and_code_2():
    done = run_entry("teste")
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr == f"setup: make teste: there is no such chore; choose one of {', '.join(tasks.TASKS)}\n"
    )


def test_a_python_that_is_too_old_is_one_line_and_code_2(tmp_path):
    old = "sys.version_info = (3, 9, 18)"
    done = run_entry("test", pretend=old, PATH=str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(
        r"setup: .* is Python 3\.9; install Python 3\.11 or newer, or name one: .*\n", done.stderr
    )


def test_a_newer_python_is_used_where_there_is_one(tmp_path):
    fake_program(tmp_path, "python3.13", "raise SystemExit(127)")
    newer = fake_program(tmp_path, "python3.12", "import sys; print(sys.argv[1:])")
    old = "sys.version_info = (3, 9, 18)"
    done = run_entry("help", pretend=old, PATH=str(tmp_path))
    assert done.returncode == 0 and f"is Python 3.9, going on with {newer}" in done.stdout
    asked = run_entry("help", pretend=old, PATH=str(tmp_path), PYTHON="python3.9")
    assert asked.returncode == 2, "an interpreter that was asked for by name is not exchanged"


def test_an_old_python_can_read_the_entry():
    tree = ast.parse(ENTRY.read_text(), feature_version=(3, 7))
    # Python 2 and 3.5 know no f-strings and no annotations of variables.
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.AnnAssign)]


def test_make_has_every_chore():
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(targets.split()) == sorted(tasks.TASKS)


def test_every_requirement_is_pinned_exactly_and_high_enough():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert all(re.fullmatch(r"[\w.]+", release) for release in pins.values())
    assert "torch" not in pins, "which build of torch fits is for torch_build.py to say"
    for requirement in requirements.of_project(ROOT, ["dev"]):
        name, least = re.fullmatch(r"([\w-]+)[>=]=(.+)", requirement).groups()
        release = torch_build.VERSION if name == "torch" else pins[name.lower()]
        assert requirements.numbers(release) >= requirements.numbers(least), requirement
