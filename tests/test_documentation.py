"""The site of the documentation is whole and needs no other server; links of its pages lead somewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import documentation
import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LOADED = re.compile(r"<(?:script|img|iframe|source)[^>]*\bsrc=\"([^\"]+)\"|<link[^>]*\bhref=\"([^\"]+)\"")
"""What a browser fetches without being asked."""

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for name in documentation.PAGES
    for path in [ROOT / name, *(ROOT / name).rglob("*.md")]
    if path.suffix == ".md"
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_of_the_repository(page):
    text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    broken = [
        link for link in LINK.findall(text) if not (ROOT / page).parent.joinpath(unquote(link)).exists()
    ]
    assert not broken


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the site as `make docs` builds it, elsewhere."""
    root = tmp_path_factory.mktemp("site")
    for name in documentation.PAGES:
        (root / name).symlink_to(ROOT / name)
    (root / "src").symlink_to(ROOT / "src")
    shutil.copy(ROOT / "mkdocs.yml", root)
    documentation.put_together(root, root / "build" / "pages")
    done = subprocess.run(
        [sys.executable, "-m", *documentation.BUILD], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "site"


def test_every_page_is_there(site):
    for page in PAGES:
        built = re.sub(r"(^|/)README\.md$", r"\1index.md", page).removesuffix(".md") + ".html"
        assert (site / built).exists(), page


def test_everything_public_is_in_the_reference(site):
    """By the sources' own definitions, whatever the tool that reads them makes of it."""
    shown = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    missing = []
    for path in (ROOT / "src" / "triptych").rglob("*.py"):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        names = re.findall(r"^(?:class|def|async def) ([a-zA-Z]\w*)", path.read_text(encoding="utf-8"), re.M)
        missing += [f"{module}.{name}" for name in names if f'id="{module}.{name}"' not in shown]
    assert not missing


def test_nothing_comes_from_another_server(site):
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        found = [link for pair in LOADED.findall(text) for link in pair if link]
        assert found
        assert not [link for link in found if re.match(r"(https?:)?//", link)], page.name
        assert not re.search(r'class="(mermaid|glightbox|pyodide)', text), (
            f"{page.name} would fetch a program"
        )
