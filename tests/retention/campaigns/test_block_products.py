"""Test which products the block of an e-mail shows to each customer."""

from datetime import timedelta

import pandas as pd
import pytest

from retention.campaigns.lifecycle.copy_test import CopyTest, Variant
from retention.campaigns.message.parts import MessageParts, parse_blocks
from retention.campaigns.planning.block_products import pictured_items, with_products
from retention.lake import Lake
from tests.retention.campaigns.samples import NOW, a_body
from tests.shop import import_frame

TEA, MUG, BRIE, GOUDA, GONE = "tea", "mug", "brie", "gouda", "gone"


def _event(customer: str, kind: str, item: str, days_ago: float) -> dict:
    at = NOW - timedelta(days=days_ago)
    money = {"amount": 9.0, "currency": "EUR", "order_id": f"{customer}{item}{days_ago}"}
    return {"customer_id": customer, "event_type": kind, "item_id": item, "occurred_at": at} | (
        money if kind == "purchase" else {}
    )


EVENTS = [
    _event("ann", "view", TEA, 3),
    _event("ann", "view", MUG, 2),
    _event("ann", "view", BRIE, 9),
    _event("ann", "purchase", BRIE, 8),
    _event("ann", "view", GONE, 1),
    _event("bob", "purchase", TEA, 30),
    _event("bob", "purchase", TEA, 20),
    _event("bob", "purchase", MUG, 1),
    _event("cleo", "purchase", BRIE, 5),
    _event("cleo", "purchase", GOUDA, 5),
]
FUTURE = [
    _event("ann", "purchase", TEA, -1),
    _event("ann", "view", GOUDA, -1),
    _event("bob", "purchase", GOUDA, -1),
    *(_event(f"new{number}", "purchase", GOUDA, -1) for number in range(5)),
]


@pytest.fixture
def lake(settings, database):
    lake = Lake.open(settings)
    items = pd.DataFrame({"item_id": [TEA, MUG, BRIE, GOUDA, GONE]})
    items["title"] = ["Green tea", "Blue mug", "Brie", "Gouda", "Sold out"]
    items["category"] = ["tea", "cups", "cheese", "cheese", "tea"]
    items["in_stock"] = [True, True, True, True, False]
    lake.upsert("items", items)
    import_frame(lake, database, pd.DataFrame(EVENTS))
    return lake


def _shown(lake, settings, blocks: str) -> dict[str, list[str]]:
    offer = {"rule": "High risk", "action": "coupon", "items": [{"item_id": "x", "title": "X"}]}
    rows = [{"customer_id": name, "offer": offer} for name in ("ann", "bob", "cleo")]
    body = a_body(message=MessageParts(blocks=parse_blocks(blocks)))
    filled = with_products(lake, settings, body, rows, NOW)
    assert rows[0]["offer"]["items"] == offer["items"]
    return {row["customer_id"]: [i["item_id"] for i in row["offer"]["items"]] for row in filled}


SOURCES = {
    "recommended": {"ann": ["x"], "bob": ["x"], "cleo": ["x"]},
    "viewed:2": {"ann": [MUG, TEA], "bob": [], "cleo": []},
    "viewed:1": {"ann": [MUG], "bob": [], "cleo": []},
    "bought": {"ann": [BRIE], "bob": [TEA, MUG], "cleo": [BRIE, GOUDA]},
    "category=cheese": {"ann": [GOUDA], "bob": [BRIE, GOUDA], "cleo": []},
    "new": {"ann": [], "bob": [], "cleo": []},  # the shop's data is too young
}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("source", SOURCES)
def test_products_are_those_of_the_source_before_the_cutoff(lake, settings, database, source):
    shown = _shown(lake, settings, f"text,products:{source}")
    assert shown == SOURCES[source]
    import_frame(lake, database, pd.DataFrame(FUTURE))
    assert _shown(lake, settings, f"text,products:{source}") == shown


def test_items_that_the_policy_bars_are_not_shown(lake, settings):
    policy = settings.home / "own.toml"
    policy.write_text('[recommend]\nexclude_items = ["mug"]\n', encoding="utf-8")
    settings = settings.model_copy(update={"policy": policy})
    assert _shown(lake, settings, "text,products:viewed:2")["ann"] == [TEA]


def test_pictures_of_the_catalogue_are_looked_up_too():
    parts = MessageParts(blocks=parse_blocks("text,picture:mug"))
    other = MessageParts(blocks=parse_blocks("text,picture:brie"))
    test = CopyTest(variants=(Variant(name="B", message=other),))
    body = a_body(group_messages={"High risk": parts}, test=test)
    rows = [{"offer": {"items": [{"item_id": "tea"}]}}]
    assert pictured_items(body, rows) == {"mug", "tea", "brie"}
