"""Test which pictures are read, and that none is embedded twice."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from retention.lake import Lake
from retention.pictures import store
from retention.pictures.decoding import PictureProblem
from tests.retention.pictures import fakes


class Shop:
    """Pictures by address; it counts what is read and embedded."""

    def __init__(self, **pictures):
        self.pictures, self.read, self.embedded = pictures, [], 0

    def get(self, address):
        self.read.append(address)
        found = self.pictures.get(address, "missing")
        if isinstance(found, str):
            raise PictureProblem(found)
        return found

    def embed(self, pictures):
        self.embedded += len(pictures)
        return fakes.embed(pictures)


@pytest.fixture
def lake(settings) -> Lake:
    return Lake.open(settings)


def update(lake, shop, **addresses):
    shop.read.clear()
    return store.update(lake, addresses, shop.get, shop.embed)


def test_second_run_reads_only_what_is_new(lake):
    shop = Shop(a=fakes.encoded("red"), b=fakes.encoded("blue"))
    assert update(lake, shop, i1="a").read == 1
    assert update(lake, shop, i1="a", i2="b").read == 1
    assert shop.read == ["b"]
    vectors = store.vectors_of(lake, ["i2", "i1", "none"])
    assert np.isnan(vectors[2]).all()
    expected = fakes.embed([store.decode(shop.pictures[name]) for name in "ba"])
    np.testing.assert_allclose(vectors[:2], expected, atol=1e-3)


def test_shared_or_moved_picture_is_embedded_once(lake):
    shop = Shop(a=fakes.encoded("red"), moved=fakes.encoded("red"))
    update(lake, shop, i1="a", i2="a")
    update(lake, shop, i1="moved", i2="a")
    assert (shop.read, shop.embedded) == (["moved"], 1)


def test_bad_picture_is_skipped_and_tried_again_last(lake):
    shop = Shop(bad=b"no picture", good=fakes.encoded("red"))
    report = update(lake, shop, i1="bad", i2="good", i3="gone")
    assert report.skipped == (("i1", "bad", "wrong_type"), ("i3", "gone", "missing"))
    shop.pictures |= {"bad": fakes.encoded("blue"), "new": fakes.encoded("green")}
    assert update(lake, shop, i1="bad", i2="good", i4="new").skipped == ()
    assert shop.read == ["new", "bad"]
    assert not np.isnan(store.vectors_of(lake, ["i1", "i4"])).any()


def test_picture_that_breaks_keeps_no_old_vector(lake):
    shop = Shop(a=fakes.encoded("red"), b=b"")
    update(lake, shop, i1="a")
    update(lake, shop, i1="b")
    assert np.isnan(store.vectors_of(lake, ["i1"])).all()


def test_items_without_a_picture_any_more_are_removed(lake):
    shop = Shop(a=fakes.encoded("red"), b=fakes.encoded("blue"))
    update(lake, shop, i1="a", i2="b")
    update(lake, shop, i2="b")
    assert lake.table("pictures").execute().item_id.tolist() == ["i2"]


def test_run_ends_where_the_server_is_down(lake, monkeypatch):
    monkeypatch.setattr(store, "MAX_FAILURES", 3)
    shop = Shop(**dict.fromkeys("abcdefgh", "unreachable"))
    report = update(lake, shop, **dict(zip("abcdefgh", "abcdefgh", strict=True)))
    assert (len(shop.read), report.read, report.waiting) == (3, 3, 5)


def test_run_has_a_limit_and_the_next_one_continues(lake, monkeypatch):
    monkeypatch.setattr(store, "MAX_NEW", 2)
    shop = Shop(**{name: fakes.encoded(name) for name in ("red", "blue", "green")})
    names = dict(zip("abc", shop.pictures, strict=True))
    assert update(lake, shop, **names).waiting == 1
    assert update(lake, shop, **names).waiting == 0
    assert shop.read == ["green"]


def test_changed_file_of_a_folder_is_read_again(lake, tmp_path):
    (tmp_path / "SKU-1.jpg").write_bytes(fakes.encoded("red", "JPEG"))
    (tmp_path / "notes.txt").write_text("no picture")
    read = partial(store.read_file, tmp_path)
    first = store.folder_addresses(tmp_path)
    assert [*first] == ["SKU-1"]
    assert store.update(lake, first, read, fakes.embed).read == 1
    (tmp_path / "SKU-1.jpg").write_bytes(fakes.encoded("blue", "JPEG"))
    assert store.update(lake, store.folder_addresses(tmp_path), read, fakes.embed).read == 1


def test_catalogue_names_the_first_address_of_an_item(lake):
    attributes = [
        {"image": "https://x.example/a.jpg", "colour": "red"},
        {"image_url": "", "picture": " https://x.example/b.jpg "},
        {"colour": "red"},
        {"image_url": 7},
    ]
    rows = {"item_id": [f"i{n}" for n in range(5)]}
    rows["attributes"] = [*map(json.dumps, attributes), "no JSON"]
    lake.upsert("items", pd.DataFrame(rows))
    addresses = store.catalogue_addresses(lake)
    assert addresses == {"i0": "https://x.example/a.jpg", "i1": "https://x.example/b.jpg"}
