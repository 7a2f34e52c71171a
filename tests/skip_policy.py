"""A pytest plugin: a skipped or expectedly failing test fails the run unless it is listed with a reason.

The list is allowed_skips.toml, beside this file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("allowed_skips.toml")


@dataclass(frozen=True)
class AllowedSkip:
    """One entry of the list."""

    test: str
    """Node id of a file, a class or a function; what lies in it, parameters too, is meant as well."""
    reason: str
    unless: str = ""
    """A circumstance that takes the permission away: an environment variable that is set, or `cuda`."""

    def covers(self, node: str) -> bool:
        """Say whether the test called `node` may be skipped here and now."""
        inside = node == self.test or node.startswith((f"{self.test}::", f"{self.test}["))
        return inside and not _holds(self.unless)


def read_list(path: Path) -> list[AllowedSkip]:
    """Read the list; an entry without a test or a reason is an error."""
    return [
        AllowedSkip(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("allowed", [])
    ]


def _holds(circumstance: str) -> bool:
    if circumstance == "cuda":
        import torch

        return torch.cuda.is_available()
    return bool(os.environ.get(circumstance))


class SkipPolicy:
    """Collects what was skipped, and fails the run at its end if any of it was not allowed."""

    def __init__(self, allowed: list[AllowedSkip]):
        self.allowed = allowed
        self.refused: dict[str, str] = {}

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or any(entry.covers(report.nodeid) for entry in self.allowed):
            return
        expected_failure = getattr(report, "wasxfail", None)
        if expected_failure is not None:
            self.refused[report.nodeid] = f"expected to fail: {expected_failure}"
        else:
            # (file, line, "Skipped: why")
            self.refused[report.nodeid] = (
                report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            )

    pytest_runtest_logreport = _note
    pytest_collectreport = _note

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        """Turn a success into a failure, before the terminal writes its last lines."""
        if self.refused and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name every skip that is not allowed, on a line of its own."""
        for node, reason in self.refused.items():
            terminalreporter.write_line(
                f"NOT ALLOWED TO SKIP {node} ({reason}): mend it, or list it in {LIST.name}", red=True
            )


def pytest_configure(config: pytest.Config) -> None:
    """Judge in the process that hears of every test: under xdist that is not a worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipPolicy(read_list(LIST)), "skip policy")
