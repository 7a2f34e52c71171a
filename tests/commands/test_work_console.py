import pytest

from triptych.commands.work_console import WorkConsole, duration
from triptych.work import Work


class Clock:
    """Seconds that pass as told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(seconds_per_image: float, *, quiet: bool = False) -> list[str]:
    lines, clock = [], Clock()
    console = WorkConsole(lines.append, quiet=quiet, terminal=False, clock=clock)
    for done in range(0, 101, 10):
        console(Work("training", done, 100))
        clock.now += 10 * seconds_per_image
    return lines


def test_work_that_takes_its_time_is_told_once_with_how_long_it_takes():
    assert shown(0.5) == ["training: about 50 seconds"]
    assert shown(6) == ["training: about 10 minutes"]


def test_quick_work_and_quiet_consoles_say_nothing():
    assert shown(0.01) == []
    assert shown(6, quiet=True) == []


def test_every_piece_of_work_is_told():
    lines, clock = [], Clock()
    console = WorkConsole(lines.append, terminal=False, clock=clock)
    for what in ("training", "measuring"):
        for done in (0, 5, 10):
            console(Work(what, done, 10))
            clock.now += 5
    assert lines == ["training: about 10 seconds", "measuring: about 10 seconds"]


def test_a_terminal_has_a_bar_and_no_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("triptych.commands.work_console.PATIENCE", 0)
    lines = []
    console = WorkConsole(lines.append, terminal=True)
    for done in (0, 5, 10):
        console(Work("training", done, 10))
    assert not lines
    assert "training" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "words"), [(89, "about 89 seconds"), (90, "about 2 minutes")])
def test_durations_in_words(seconds: float, words: str):
    assert duration(seconds) == words
