"""The command line as a user meets it: exit codes, and one line for a mistake."""

from triptych.cli import main


def say(*tokens):
    """Run a command and return its exit code."""
    return main([str(token) for token in tokens])


def the_line(capsys, *tokens):
    """Return the one line that the program says about a mistake."""
    capsys.readouterr()
    assert say(*tokens) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line
