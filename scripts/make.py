"""Do what `make` does, also where there is no make: `py scripts/make.py demo`.

Only the interpreter is seen to here, in words that any Python can read, so that an old one gets a message;
tasks.py has the chores.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
NEWER = ("python3.13", "python3.12", "python3.11", "python3.14")


def newer_python():
    """Return the first interpreter on the search path that is new enough and starts, or None."""
    if sys.version_info < (3, 3):
        return None
    for name in NEWER:
        path = shutil.which(name)
        # Version managers leave launchers for interpreters that are not switched on: those do not start.
        if path and subprocess.call([path, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return path
    return None


def main():
    """Run the chore named on the command line, with a newer interpreter where this one is too old."""
    if sys.version_info >= OLDEST:
        import tasks

        return tasks.main(sys.argv[1:])
    found = "%s is Python %d.%d" % ((sys.executable,) + tuple(sys.version_info[:2]))
    # An interpreter that was asked for by name is not exchanged for another.
    named = os.environ.get("PYTHON") or os.environ.get("VENV") == "none"
    other = None if named else newer_python()
    if other is None:
        sys.stderr.write(
            "setup: %s; install Python 3.11 or newer, or name one: PYTHON=/path/to/python\n" % found
        )
        return 2
    print("setup: %s, going on with %s" % (found, other))
    return subprocess.call([other] + sys.argv)


if __name__ == "__main__":
    sys.exit(main())
