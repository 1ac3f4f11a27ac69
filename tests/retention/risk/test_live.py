"""Test that live features and scores of the customers touched equal those of the whole lake."""

import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from retention.churn.score import score
from retention.connect.live.events import check_rows
from retention.features import build
from retention.lake import Lake
from retention.lake.customer_lake import CustomerHistory, CustomerLake
from retention.lake.importing import live_import
from retention.registry import champion
from retention.registry.model_cache import churn_model
from retention.risk import rules
from retention.risk.live import measure_population
from retention.risk.policy import load_policy
from retention.window import Window
from tests import readonly
from tests import shop as tiny

CUSTOMERS = [*(f"c{number:04d}" for number in range(8)), "new-1", "new-2"]
TYPES = ("view", "search", "cart", "purchase", "purchase", "return", "support", "email_open")
TOLERANCE = {"rtol": 0, "atol": 1e-9}

events = st.fixed_dictionaries(
    {
        "customer_id": st.sampled_from(CUSTOMERS),
        "event_type": st.sampled_from(TYPES),
        "days_ago": st.floats(0.001, 80),  # late and out of order
        "known_later": st.none() | st.floats(0, 20),  # days
        "item_id": st.none() | st.sampled_from(["i001", "i002", "i003"]),
        "order": st.none() | st.integers(0, 3),  # also an order that is in the lake already
        "quantity": st.none() | st.integers(1, 3),
        "amount": st.none() | st.integers(1, 40),
    }
)
merges = st.tuples(st.sampled_from(CUSTOMERS), st.sampled_from(CUSTOMERS))
steps = st.lists(st.lists(events, min_size=1, max_size=12) | merges, min_size=1, max_size=5)


class Stream:
    """A copy of the shop to which live events are appended."""

    def __init__(self, shop, folder: Path) -> None:
        self.shop = readonly.copy_of(shop, folder)
        self.lake = Lake.open(self.shop.settings)
        self.history = CustomerHistory(self.lake)
        self.end = self.shop.end
        self.touched: set[str] = set()
        self.number = 0

    def close(self) -> None:
        self.lake.con.disconnect()
        self.shop.database.dispose()

    def step(self, step) -> None:
        """Append a micro-batch, or merge two customers."""
        if isinstance(step, tuple):
            self._merge(*step)
            return
        checked = check_rows([self._row(event) for event in step], self.end, source="live")
        assert not checked.rejected
        lines = "\n".join(json.dumps(row) for row in checked.rows).encode()
        options = {"name": str(self.number), "currency": "EUR"}
        report = live_import.append(self.lake, None, self.shop.settings, lines, **options)
        self.touched |= report.customers
        with CustomerLake(self.lake, self.history, report.customers) as few:
            few.table("events", self.end).count().execute()  # rows are cached from here on

    def _row(self, event) -> dict:
        self.number += 1
        at = self.end - timedelta(days=event["days_ago"])
        later = event["known_later"]
        customer, order = event["customer_id"], event["order"]
        row = {
            "event_id": f"live-{self.number}",
            "customer_id": customer,
            "event_type": event["event_type"],
            "occurred_at": at.isoformat(),
            "available_at": None if later is None else (at + timedelta(days=later)).isoformat(),
            "order_id": None if order is None else f"o{customer[1:].lstrip('0') or 0}-{order}",
            "currency": "EUR",
        }
        return row | {name: event[name] for name in ("item_id", "quantity", "amount")}

    def _merge(self, left: str, right: str) -> None:
        known = self.lake.identities.canonical_ids()
        if known.get(left, left) == known.get(right, right):
            return
        tiny.merged(self.lake, (left, right))
        self.touched |= {left, right}


def assert_equal(few: pd.DataFrame, everyone: pd.DataFrame, customers) -> None:
    """Compare all columns of these customers."""
    expected = everyone[everyone.customer_id.isin(customers)].sort_values("customer_id")
    found = few.sort_values("customer_id")
    assert list(found.customer_id) == list(expected.customer_id)
    for name in expected.columns.drop("customer_id"):
        wanted, value = (
            frame[name].to_numpy(dtype=float, na_value=np.nan) for frame in (expected, found)
        )
        np.testing.assert_allclose(value, wanted, **TOLERANCE, err_msg=name)


def check_stream(shop, stream_steps) -> None:
    """Compare features and scores after a stream of micro-batches."""
    with TemporaryDirectory() as folder:
        stream = Stream(shop, Path(folder) / "shop")
        with closing(stream):
            for step in stream_steps:
                stream.step(step)
            _compare(stream)


def _compare(stream: Stream) -> None:
    lake, end, own = Lake.open(stream.shop.settings), stream.end, stream.shop.settings
    with stream.shop.database.reading() as session:
        trained = churn_model(own, champion(session, "churn"))
    policy = load_policy(own)
    with CustomerLake(stream.lake, stream.history, stream.touched) as few:
        everyone = build(lake, end, window=Window(21, None)).execute()
        assert_equal(build(few, end, window=Window(21, None)).execute(), everyone, few.customers)
        for model in (trained, None):
            population = measure_population(lake, model, end, window=Window(21, 42))
            live = population.scores(few, end, policy).drop(columns="tier")
            by_rules = (lake, end, Window(21, 42))
            batch = score(model, lake, end)[0] if model else rules.score(*by_rules)[0]
            assert_equal(live, batch[list(live.columns)], few.customers)


@pytest.mark.nightly
def test_scores_of_one_stream_equal_the_batch(champion_shop):
    """Late orders, an order that is returned, a new customer and a merge."""
    purchase = {"customer_id": "c0001", "event_type": "purchase", "item_id": "i001"}
    purchase |= {"days_ago": 2.0, "known_later": None, "order": 77, "quantity": 2, "amount": 20}
    back = purchase | {"event_type": "return", "days_ago": 1.0}
    stream_steps = [
        [purchase, purchase | {"customer_id": "new-1", "days_ago": 3.0}],
        [back, purchase | {"customer_id": "c0002", "days_ago": 60.0, "known_later": 10.0}],
        ("c0003", "new-1"),
        [purchase | {"customer_id": "c0002", "order": None, "known_later": 5.0}],
    ]
    check_stream(champion_shop, stream_steps)


@pytest.mark.nightly
@pytest.mark.timeout(2400)
@seed(23)
@given(stream_steps=steps)
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_scores_of_generated_streams_equal_the_batch(champion_shop, stream_steps):
    check_stream(champion_shop, stream_steps)
