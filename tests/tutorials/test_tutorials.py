"""Each tutorial for contributors works: its code is applied to a copy and its commands run."""

from pathlib import Path

import pytest

from tests import readonly
from tests.tutorials import page

FOLDER = page.ROOT / "docs" / "contributor" / "tutorials"
TUTORIALS = sorted(path.stem for path in FOLDER.glob("add_*.md"))


def follow(name: str, folder: Path, home: Path) -> str:
    """Do all steps of a tutorial, and return what its commands print."""
    copy = page.copy_code(folder)
    files = page.apply(FOLDER / f"{name}.md", copy)
    page.lint(copy, files)
    return page.check(FOLDER / f"{name}.md", copy, home)


def test_every_tutorial_has_a_test():
    assert TUTORIALS == [
        "add_a_command",
        "add_a_delivery_channel",
        "add_a_feature",
        "add_a_recommender",
        "add_an_estimator",
    ]


@pytest.mark.nightly
def test_command_of_the_tutorial_answers(shop, tmp_path):
    readonly.copy_folder(shop.settings.home, home := tmp_path / "home")
    printed = follow("add_a_command", tmp_path / "code", home)
    assert '"newcomers": ' in printed
    reference = (tmp_path / "code" / "docs" / "reference" / "commands.md").read_text("utf-8")
    assert "newcomers" in reference


@pytest.mark.nightly
def test_feature_of_the_tutorial_sees_no_future(tmp_path):
    follow("add_a_feature", tmp_path / "code", tmp_path / "home")
    reference = (tmp_path / "code" / "docs" / "reference" / "features.md").read_text("utf-8")
    assert "basket_max" in reference


@pytest.mark.nightly
def test_estimator_of_the_tutorial_is_trained_explained_and_stored(tmp_path):
    follow("add_an_estimator", tmp_path / "code", tmp_path / "home")


@pytest.mark.nightly
def test_recommender_of_the_tutorial_ranks(tmp_path):
    follow("add_a_recommender", tmp_path / "code", tmp_path / "home")


@pytest.mark.nightly
def test_channel_of_the_tutorial_delivers_each_email_once(tmp_path):
    follow("add_a_delivery_channel", tmp_path / "code", tmp_path / "home")


def test_change_of_lines_that_are_not_there_fails():
    block = page.Block("diff", "a.py", " old\n-gone\n+new\n")
    assert page.changed("old\ngone\n", block) == "old\nnew\n"
    with pytest.raises(AssertionError, match="occur 0 times"):
        page.changed("old\nother\n", block)
