"""The rules of the house, kept by every file: style, types, floors, sizes, names."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
import requirements
import skip_policy
import tasks

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "triptych"
OWN_FILES = sorted(SOURCE.rglob("*.py"))
FILES = OWN_FILES + sorted((ROOT / "benchmarks").rglob("*.py"))

LONGEST_FILE = 300
LONGEST_FUNCTION = 60
SAYS_NOTHING = {"util", "utils", "helper", "helpers", "misc", "common", "stuff"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("name", tasks.checks(sys.executable))
def test_check_of_the_source_text(name):
    command = [sys.executable, *tasks.checks(sys.executable)[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"


def test_no_import_leads_back_to_where_it_came_from():
    # Beyond the contract on cycles between siblings: a package's __init__ counts too.
    graph = grimp.build_graph("triptych", cache_dir=None)
    cycles = {
        f"{importer} -> {imported} -> ... -> {importer}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.find_shortest_chain(imported, importer)
    }
    assert not cycles


def test_files_are_short():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES
    }
    assert lengths
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def functions() -> Iterator[tuple[str, int]]:
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_functions_are_short():
    assert {where: length for where, length in functions() if length > LONGEST_FUNCTION} == {}


def test_names_say_what_a_file_is_for():
    assert [path for path in FILES if SAYS_NOTHING & {path.stem, path.parent.name}] == []


def imported_packages() -> set[str]:
    found = set()
    for path in OWN_FILES:  # benchmarks, which are not installed, name what they lack
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"triptych"}


def test_what_is_imported_is_declared():
    extras = ["plots", "tensorboard", "parquet", "page"]
    names = [re.split(r"[<>=\[]", wanted)[0] for wanted in requirements.of_project(ROOT, extras)]
    declared = {name.lower().replace("_", "-") for name in names}
    # Optional accelerators and readers that a package is named after are found by that name alone.
    known = packages_distributions()
    undeclared = {
        package
        for package in imported_packages()
        if not declared & {name.lower().replace("_", "-") for name in [package, *known.get(package, [])]}
    }
    assert undeclared <= {"triton"}, (
        "triton comes with torch on machines with a GPU; nothing else comes by itself"
    )


def test_every_allowed_skip_is_of_a_file_that_exists():
    for entry in skip_policy.read_list(skip_policy.LIST):
        assert (ROOT / entry.test.partition("::")[0]).exists(), entry
        assert entry.reason.strip(), entry
