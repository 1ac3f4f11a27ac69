"""Test lists with new items that look like what customers bought."""

from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from retention.lake.importing.import_files import import_files
from retention.pictures import store
from retention.recommend import TrainedRecommender, recommend, train
from retention.recommend.cold_start import ColdStart
from retention.recommend.item_similarity import picture_similarity, picture_weight
from retention.settings import Settings
from tests import shops
from tests.benchmarks import pictures as benchmark
from tests.haste import hastily
from tests.retention.pictures import fakes

CUTOFF = shops.BEGIN + timedelta(days=benchmark.DAYS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return a shop in which looks matter, and its recommenders without and with pictures."""
    with pytest.MonkeyPatch.context() as patch, hastily():
        for name, value in {"CUSTOMERS": 200, "KNOWN": 90, "NEW": 20}.items():
            patch.setattr(benchmark, name, value)
        lake, bought, folder = benchmark.made_up(tmp_path_factory.mktemp("looks"), 3, matters=True)
        read = partial(store.read_file, folder)
        store.update(lake, store.folder_addresses(folder), read, fakes.embed)
        plain = train(lake, cutoff=CUTOFF)
        lake.uses_pictures = True
        yield lake, bought, plain, train(lake, cutoff=CUTOFF)


def lists(lake, trained, who):
    return recommend(trained, lake, who, k=10, as_of=CUTOFF, terms=benchmark.FULL)


def test_new_items_look_like_bought_ones_and_say_so(shop):
    lake, bought, plain, trained = shop
    new = [item for items in lists(lake, trained, [*bought]).values() for item in items[-5:]]
    by_look = [item for item in new if item.source == "looks_like"]
    assert len(by_look) > len(new) / 4
    titles = {*lake.table("items").execute().title}
    assert all(item.why.removeprefix("new, looks like ") in titles for item in by_look)
    before = [item for items in lists(lake, plain, [*bought]).values() for item in items]
    assert not any(item.source == "looks_like" for item in before)


def test_stored_recommender_makes_the_same_lists(shop):
    lake, bought, _, trained = shop
    who = [*bought][:20]
    again = TrainedRecommender.from_bytes(trained.to_bytes())
    assert lists(lake, again, who) == lists(lake, trained, who)


def test_recommender_of_an_earlier_version_is_read(shop):
    cold = shop[2].cold
    stored = {name: each for name, each in cold.arrays().items() if not name.startswith("looks.")}
    restored = ColdStart.restore(stored)
    assert restored.look_of(0, 0) == 0
    assert (restored.similarity != cold.similarity).nnz == 0


def test_later_events_change_nothing(shop, tmp_path):
    _, bought, _, trained = shop
    with pytest.MonkeyPatch.context() as patch, hastily():
        for name, value in {"CUSTOMERS": 200, "KNOWN": 90, "NEW": 20}.items():
            patch.setattr(benchmark, name, value)
        other, _, folder = benchmark.made_up(tmp_path, 3, matters=True)
        read = partial(store.read_file, folder)
        store.update(other, store.folder_addresses(folder), read, fakes.embed)
        later = pd.DataFrame(
            [(who, item) for who, items in bought.items() for item in items],
            columns=["customer_id", "item_id"],
        ).assign(event_type="purchase", occurred_at=CUTOFF, amount=10.0, quantity=1.0)
        path = tmp_path / "later.parquet"
        later.assign(source="later").to_parquet(path)
        home = Settings(home=tmp_path / "later", _env_file=None)
        report = import_files(other, None, home, "events", [str(path)], None)
        assert report.rows_accepted == len(later)
        other.uses_pictures = True
        again = train(other, cutoff=CUTOFF).cold
    assert (again.looks != trained.cold.looks).nnz == 0
    assert (again.similarity != trained.cold.similarity).nnz == 0


def test_pictures_count_where_they_tell_who_buys():
    interactions, vectors, items = benchmark.known_shop(np.random.default_rng(1), matters=True)
    assert picture_weight(vectors, interactions, items) > 0


def test_pictures_that_say_nothing_do_not_count():
    made = [benchmark.known_shop(np.random.default_rng(seed), matters=False) for seed in range(20)]
    counted = [picture_weight(vectors, each, items) > 0 for each, vectors, items in made]
    assert sum(counted) <= 2  # 2.3% are expected: one-sided, two standard errors


def test_few_items_or_no_pictures_do_not_count():
    interactions, vectors, items = benchmark.known_shop(np.random.default_rng(1), matters=True)
    assert picture_weight(np.full_like(vectors, np.nan), interactions, items) == 0
    few = replace_items(interactions, 30)
    assert picture_weight(vectors[:30], few, items) == 0


def replace_items(interactions, count):
    stats = SimpleNamespace(items=interactions.item_stats.items[:count])
    return SimpleNamespace(item_stats=stats, liked=csr_matrix(interactions.liked[:, :count]))


def test_items_without_a_picture_resemble_none():
    _, vectors, _ = benchmark.known_shop(np.random.default_rng(1), matters=True)
    known, new = vectors[:50].copy(), vectors[50:60].copy()
    known[3], new[2] = np.nan, np.nan
    alike = picture_similarity(known, new).toarray()
    assert alike[3].sum() == alike[:, 2].sum() == 0
    assert alike.sum(axis=0)[[0, 1, 3]].min() > 0
    assert np.isfinite(alike).all()
