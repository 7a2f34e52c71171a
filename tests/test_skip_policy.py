"""The skip policy, on small test suites of its own."""

import pytest
from skip_policy import AllowedSkip, SkipPolicy, read_list

SUITE = """
    import pytest

    def test_runs(): pass

    @pytest.mark.skip(reason="too slow")
    def test_skipped(): pass

    @pytest.mark.parametrize("n", [1, 2])
    def test_parametrised(n): pytest.skip("not today")

    @pytest.mark.xfail(reason="known bug")
    def test_expected_failure(): assert False
"""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester, *allowed, source=SUITE, options=()):
    pytester.makepyfile(test_suite=source)
    entries = [AllowedSkip(test, "because", unless) for test, unless in allowed]
    plugins = [SkipPolicy(entries)]
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options, plugins=plugins)


def test_a_suite_without_skips_passes(pytester):
    assert run(pytester, source="def test_runs(): pass").ret == pytest.ExitCode.OK


def test_every_skip_that_is_not_listed_fails_the_run_and_is_named(pytester):
    result = run(pytester)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            "NOT ALLOWED TO SKIP test_suite.py::test_skipped (Skipped: too slow)*",
            "NOT ALLOWED TO SKIP test_suite.py::test_parametrised[[]1[]] (Skipped: not today)*",
            "NOT ALLOWED TO SKIP test_suite.py::test_parametrised[[]2[]] (Skipped: not today)*",
            "NOT ALLOWED TO SKIP test_suite.py::test_expected_failure (expected to fail: known bug)*",
        ]
    )


def test_a_module_that_skips_itself_fails_the_run(pytester):
    result = run(pytester, source="import pytest\npytest.importorskip('no_such_module')")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["NOT ALLOWED TO SKIP test_suite.py *no_such_module*"])


def test_listed_skips_are_allowed_with_all_that_lies_in_them(pytester):
    names = ["test_skipped", "test_parametrised", "test_expected_failure"]
    result = run(pytester, *((f"test_suite.py::{name}", "") for name in names))
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*NOT ALLOWED*")
    assert run(pytester, ("test_suite.py", "")).ret == pytest.ExitCode.OK


def test_an_entry_does_not_cover_a_longer_name(pytester):
    result = run(pytester, ("test_suite.py::test_skip", ""), options=["-k", "test_skipped"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_circumstance_takes_the_permission_away(pytester, monkeypatch):
    entry = ("test_suite.py", "TRIPTYCH_TEST_DATA")
    monkeypatch.delenv("TRIPTYCH_TEST_DATA", raising=False)
    assert run(pytester, entry).ret == pytest.ExitCode.OK
    monkeypatch.setenv("TRIPTYCH_TEST_DATA", "somewhere")
    assert run(pytester, entry).ret == pytest.ExitCode.TESTS_FAILED


def test_skips_are_seen_through_xdist(pytester):
    result = run(pytester, options=["-p", "xdist", "-n", "2"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["NOT ALLOWED TO SKIP test_suite.py::test_skipped (Skipped: too slow)*"])


def test_a_failing_suite_stays_failed(pytester):
    assert run(pytester, source="def test_fails(): assert False").ret == pytest.ExitCode.TESTS_FAILED


def test_an_entry_needs_its_reason(tmp_path):
    path = tmp_path / "allowed.toml"
    path.write_text('[[allowed]]\ntest = "tests/test_suite.py"\n')
    with pytest.raises(TypeError, match="reason"):
        read_list(path)
