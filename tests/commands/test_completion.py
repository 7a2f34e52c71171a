"""A shell completes what the command line takes, as it is loaded into a real one."""

import shutil
import subprocess

import pytest
from commands.command_line import say, the_line

from triptych.commands import VERBS
from triptych.commands.completion import options_of, script

COMPLETE = """
source /dev/stdin <<< "$SCRIPT"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_tyro_triptych
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash():
    found = shutil.which("bash")
    assert found, "the tests need bash, as the set-up does"
    text = script("bash")

    def complete(*words):
        command = [found, "-c", COMPLETE, "bash", "triptych", *words]
        done = subprocess.run(
            command, env={"SCRIPT": text, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("sam",), ["sample"]),
        (("sample", "--guid"), ["--guidance", "--guide"]),
        (("report", "--language", ""), ["en", "zh"]),
        (("evaluate", "--again"), ["--again"]),
        (("serve", "--po"), ["--port"]),
    ],
)
def test_what_was_begun_is_completed(bash, words, offered):
    assert bash(*words) == offered


def test_every_verb_is_offered(bash):
    assert set(bash("")) >= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_options(verb):
    assert options_of(verb).__doc__


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_it_is_printed(shell, capsys):
    assert say("completion", shell) == 0
    assert capsys.readouterr().out == script(shell)


def test_a_shell_that_there_is_not_is_one_line(capsys):
    assert "choose from bash, zsh" in the_line(capsys, "completion", "fish")
