"""Each tutorial for contributors works: its code is applied to a copy and its commands run."""

import pytest

from tests import readonly
from tests.tutorials import page

FOLDER = page.ROOT / "docs" / "contributor" / "tutorials"
# Each tutorial, and what it adds to a page of the reference.
TUTORIALS = {
    "add_a_command": ("commands.md", "newcomers"),
    "add_a_delivery_channel": None,
    "add_a_feature": ("features.md", "basket_max"),
    "add_a_recommender": None,
    "add_an_estimator": None,
}


def test_every_tutorial_has_a_test():
    assert {path.stem for path in FOLDER.glob("add_*.md")} == set(TUTORIALS)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial_works(name, shop, tmp_path):
    tutorial, home = FOLDER / f"{name}.md", tmp_path / "home"
    if name == "add_a_command":
        readonly.copy_folder(shop.settings.home, home)
    copy = page.copy_code(tmp_path / "code")
    page.lint(copy, page.apply(tutorial, copy))
    printed = page.check(tutorial, copy, home)
    assert ('"newcomers": ' in printed) == (name == "add_a_command")
    if TUTORIALS[name]:
        reference, added = TUTORIALS[name]
        assert added in (copy / "docs" / "reference" / reference).read_text("utf-8")


def test_change_of_lines_that_are_not_there_fails():
    block = page.Block("diff", "a.py", " old\n-gone\n+new\n")
    assert page.changed("old\ngone\n", block) == "old\nnew\n"
    with pytest.raises(AssertionError, match="occur 0 times"):
        page.changed("old\nother\n", block)
