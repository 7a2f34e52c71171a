"""Put together the pages of the documentation's site: those read here, and a reference of all modules.

The pages keep their places beside each other, so that their links lead where they lead in the repository.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

PAGES = ("README.md", "README.zh.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs", "results")
"""Files and folders of the repository that the site shows."""
BUILD = ("zensical", "build", "--clean", "--strict")
"""The module, and its arguments, that makes the site of them; what is amiss, a dead link say, is an error."""
PACKAGE = "triptych"
REFERENCE = "reference"


def put_together(root: Path, into: Path) -> None:
    """Write all pages of the site into a folder of which nothing else is kept.

    Args:
        root: of the repository.
        into: the folder, which mkdocs.yml names too.
    """
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for name in PAGES:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, into / name)
    (into / REFERENCE).mkdir()
    for name, text in reference(root / "src" / PACKAGE):
        (into / REFERENCE / f"{name}.md").write_text(text, encoding="utf-8")


def reference(package: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of every page of the reference and its text: one for each folder of the package.

    What is in a module is found by whoever builds the site, in its source: nothing is imported.
    """
    folders = sorted(folder for folder in package.iterdir() if (folder / "__init__.py").exists())
    own = [path.stem for path in sorted(package.glob("*.py")) if not path.stem.startswith("_")]
    yield "index", page(f"The modules of {PACKAGE}", [PACKAGE, *(f"{PACKAGE}.{name}" for name in own)])
    for folder in folders:
        modules = list(modules_of(folder, package.parent))
        if len(modules) > 1:  # else it holds files that are no modules
            yield folder.name, page(f"`{PACKAGE}.{folder.name}`", modules)


def modules_of(folder: Path, root: Path) -> Iterator[str]:
    """Yield the full name of a package and of each module that is in it, inner ones last."""
    for path in sorted(folder.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def page(title: str, modules: list[str]) -> str:
    """Return a page that has everything public of some modules."""
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in modules)]) + "\n"
