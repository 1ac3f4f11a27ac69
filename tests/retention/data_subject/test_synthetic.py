"""Test that a made-up shop is like the real one and copies nobody."""

import numpy as np
import pytest

from retention.data_subject.synthetic import MIN_GROUP, Histogram, goods_of, purchases, statistics
from retention.data_subject.synthetic_checks import check, write_made_up
from retention.errors import TooLittleData
from retention.lake.importing.import_files import import_files
from tests import shop as tiny


@pytest.fixture(scope="module")
def written(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made-up")
    return folder, write_made_up(shop.lake, folder)


def test_made_up_shop_has_the_same_figures_and_copies_nobody(written):
    _, told = written
    for name, (real, own) in told["figures"].items():
        assert own == pytest.approx(real, rel=0.2, abs=0.08), name
    assert told["nearer"] < 0.6
    assert 0.4 < told["membership"] < 0.6


def test_checks_find_a_copy(shop):
    lines = purchases(shop.lake)
    copied = check(lines, lines, lambda some: some, seed=0)
    assert (copied.nearer, copied.membership) == (pytest.approx(1, abs=0.02), 1.0)


@pytest.mark.nightly
def test_made_up_shop_can_be_imported_and_has_no_real_value(written, shop, tmp_path):
    folder, told = written
    other = tiny.build(tmp_path / "home", customers=1, days=5)
    for table in ("items", "customers", "events"):
        file = folder / f"{table}.csv"
        report = import_files(other.lake, other.database, other.settings, table, [str(file)])
        assert report.rows_accepted == told["rows"][table]
    text = "".join((folder / f"{table}.csv").read_text() for table in told["rows"])
    real = shop.lake.table("customers").execute()
    items = shop.lake.table("items").execute()
    named = {*real.customer_id, *real.email, *real.name, *items.item_id, *items.title}
    cells = {cell for line in text.splitlines() for cell in line.split(",")}
    assert not named & cells


def test_every_group_is_large_and_no_extreme_value_is_kept(shop):
    values = np.r_[np.arange(200.0), 1e6]
    histogram = Histogram.of(values)
    assert histogram.counts.min() >= MIN_GROUP // 2
    assert histogram.edges[-1] < 1e3
    few = tiny.purchases(shop.end, [f"k{number}" for number in range(30)])
    with pytest.raises(TooLittleData):
        statistics(few.assign(item_id="i1", quantity=1.0), goods_of(shop.lake))
