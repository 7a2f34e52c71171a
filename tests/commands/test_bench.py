"""`triptych bench` runs the benchmarks of the checkout, and says where there are none."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from commands.command_line import say, the_line

from triptych.commands import bench

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TORCH = (
    "import sys; from triptych.cli import main; code = main(['bench', '--rounds', '0']); "
    "print(code, 'torch' in sys.modules)"
)


def test_options_go_to_the_benchmarks_of_this_checkout(monkeypatch, tmp_path):
    called = []

    class Process:
        """One that is interrupted, and ends with a code of its own all the same."""

        def __init__(self, command, cwd):
            called.append((command, cwd))
            self.interrupted = False

        def wait(self):
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return 5

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "peers").mkdir()
    assert say("bench", "--only", "s6-scan", "--quick", "--peers", "peers", "--json", "told.json") == 5
    ((command, cwd),) = called
    assert cwd == ROOT
    assert command[:3] == [sys.executable, "-m", "benchmarks"]
    assert command[3:6] == ["--only", "s6-scan", "--quick"]
    # Of two equal flags the last counts.
    assert command[-4:] == ["--peers", str(tmp_path / "peers"), "--json", str(tmp_path / "told.json")]


def test_they_start_there_with_the_same_options():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    done = subprocess.run(command, cwd=bench.checkout(), capture_output=True, text=True)
    assert done.returncode == 0
    for field in fields(bench.BenchOptions):
        assert f"--{field.name.replace('_', '-')}" in done.stdout


def test_an_installed_package_has_none(monkeypatch, tmp_path, capsys):
    installed = tmp_path / "site-packages" / "triptych" / "commands" / "bench.py"
    monkeypatch.setattr(bench, "__file__", str(installed))
    assert "installed without the benchmarks; call it in a clone" in the_line(capsys, "bench", "--quick")


def test_a_mistake_is_told_before_torch_is_loaded():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"]
    assert done.stderr == "triptych: --rounds 0: less than 1; choose 1 or more\n"
