"""Test the job that looks at pictures of products."""

import pytest

from retention.errors import BadInput
from retention.pictures import embedding, extra
from tests.retention.pictures import fakes
from workers.job_requests import Pictures
from workers.tasks.runner import run_inline


@pytest.fixture
def pictured(database, settings, tmp_path, monkeypatch):
    """A home with a folder of pictures, of which one is damaged."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "SKU-1.png").write_bytes(fakes.encoded("red"))
    (folder / "SKU-2.jpg").write_bytes(b"\xff\xd8\xff\xe0 damaged")
    monkeypatch.setattr(embedding, "embed", fakes.embed)
    monkeypatch.setattr(extra, "is_installed", lambda: True)
    return database.using(settings.model_copy(update={"product_pictures": str(folder)}))


def test_job_counts_pictures_and_names_those_that_fail(pictured):
    data = run_inline(pictured, Pictures(), user="operator")
    assert (data["items"], data["read"], data["waiting"]) == (2, 2, 0)
    (skipped,) = data["skipped"]
    assert (skipped["item_id"], skipped["address"]) == ("SKU-2", "SKU-2.jpg")
    again = run_inline(pictured, Pictures(), user="operator")
    assert again["read"] == 1  # the damaged one


@pytest.mark.parametrize("value", ["", "yes", "/no/such/folder"])
def test_wrong_setting_is_named(pictured, settings, value):
    wrong = settings.model_copy(update={"product_pictures": value})
    with pytest.raises(BadInput, match="RETENTION_PRODUCT_PICTURES"):
        extra.require_setting(wrong)


def test_missing_extra_says_how_to_install(monkeypatch):
    monkeypatch.setattr(extra, "is_installed", lambda: False)
    with pytest.raises(BadInput, match=r"pip install 'retention-desk\[pictures\]'"):
        extra.require()
