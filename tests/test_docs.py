"""The site builds offline, without a warning, and is complete."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sphinx.util.inventory import InventoryFile

import sklearn_featalign
from sklearn_featalign import displays, metrics

ROOT = Path(__file__).parents[1]
GENERATED = ("auto_examples", "generated", "_build", "sg_execution_times.rst")
LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href"}

pytestmark = [pytest.mark.docs, pytest.mark.slow]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Return the folder of the built site, the exit status and the warnings."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(
        ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns(*GENERATED)
    )
    # Some examples take features from the benchmarks.
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=no_caches)
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder)
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", "html"]
    command = [*sphinx, "-w", "warnings.txt", "docs", "html"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return folder / "html", result, (folder / "warnings.txt").read_text()


def test_the_site_builds_without_a_warning(site):
    _, result, warnings = site
    assert result.returncode == 0 and warnings == "", result.stdout + result.stderr


def test_every_public_name_has_a_page(site):
    inventory = InventoryFile.loads((site[0] / "objects.inv").read_bytes(), uri="")
    modules = (sklearn_featalign, metrics, displays)
    names = {
        f"{module.__name__}.{name}" for module in modules for name in module.__all__
    }
    described = {name for kind in inventory.data.values() for name in kind}
    assert names and names <= described
    assert all((site[0] / f"generated/{name}.html").is_file() for name in names)


def test_no_page_loads_anything_from_another_host(site):
    pages = sorted(site[0].rglob("*.html"))
    assert len(pages) > 30
    elsewhere = {url for page in pages for url in loaded(page) if urlsplit(url).netloc}
    assert elsewhere == set()


def loaded(page):
    """Return what a page loads by itself."""
    parser = Loads()
    parser.feed(page.read_text())
    return parser.urls


class Loads(HTMLParser):
    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        is_page = tag == "link" and "stylesheet" not in attrs.get("rel", "")
        if tag in LOADS and not is_page and attrs.get(LOADS[tag]):
            self.urls.append(attrs[LOADS[tag]])
