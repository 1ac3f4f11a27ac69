"""The docs site builds without a broken link and loads nothing from other hosts."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

import retention

ROOT = Path(__file__).parents[1]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NOT_LOADED = {"canonical", "next", "prev"}  # links that a browser only notes


def _build(folder, *options):
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", *options],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = _build(ROOT, "--strict", "--site-dir", folder)
    assert build.returncode == 0, build.stdout + build.stderr
    return folder


class _Resources(HTMLParser):
    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in LOADED and attributes.get("rel") not in NOT_LOADED:
            self.addresses.append(attributes.get(LOADED[tag]) or "")


@pytest.mark.nightly
def test_pages_load_nothing_from_other_hosts(site):
    pages = list(site.rglob("*.html"))
    assert (site / "index.html") in pages
    for page in pages:
        parser = _Resources()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses
        outside = [each for each in parser.addresses if each.startswith(("http", "//"))]
        assert not outside, f"{page.relative_to(site)} loads {outside}"


@pytest.mark.nightly
def test_styles_load_nothing_from_other_hosts(site):
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        outside = [each for each in ("url(http", "url(//", "@import") if each in text]
        assert not outside, style.name


@pytest.mark.nightly
def test_search_works_for_pages_opened_as_files(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "at-risk" in index
    assert "assets/iframe-worker.js" in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.nightly
def test_every_name_of_the_library_has_a_section(site):
    page = (site / "reference" / "library.html").read_text(encoding="utf-8")
    errors = {"BadInput", "Refused", "TooLittleData"}  # the pages of functions name them
    missing = {name for name in retention.__all__ if f'id="retention.{name}"' not in page} - errors
    assert not missing


@pytest.mark.nightly
def test_wrong_link_fails_the_build(tmp_path):
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    config = text.partition("\nplugins:")[0]
    rules = text.partition("\nvalidation:")[2].partition("\nnav:")[0]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A\n\n[b](index.md#nowhere)\n")
    (tmp_path / "mkdocs.yml").write_text(f"{config}\nvalidation:{rules}\n")
    build = _build(tmp_path)
    assert build.returncode != 0
    assert "nowhere" in build.stderr


@pytest.mark.parametrize("name", sorted(page.name for page in ROOT.glob("*.md")))
def test_links_of_pages_beside_the_site_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        page = ROOT / path if path else ROOT / name
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slugify(heading, "-") for heading in headings}, target
