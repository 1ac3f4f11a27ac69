"""`customers`, `sales`, `glossary` and customers by name, in the terminal."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from bot.slack import glossary
from retention.lake import customer_directory
from retention.privacy import pseudonym
from tests.world import read

NAMES = {"c0001": "Marta Fischer", "c0002": "Ana Lopez", "c0003": "Ana Lopez", "c0004": "王芳"}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def named_shop(shop_home):
    """The tiny shop with names and cities of a few customers."""
    rows = [
        {
            "customer_id": customer,
            "created_at": pd.Timestamp(shop_home.begin),
            "name": name,
            "attributes": json.dumps({"city": "Berlin"}),
        }
        for customer, name in NAMES.items()
    ]
    shop_home.lake.upsert("customers", pd.DataFrame(rows))
    customer_directory.sync(shop_home.lake, shop_home.database)
    return shop_home


def purchases(named_shop) -> pd.DataFrame:
    events = named_shop.lake.table("events", before=named_shop.end)
    frame = events.filter(events.event_type == "purchase").execute()
    zone = named_shop.settings.timezone
    return frame.assign(day=frame["occurred_at"].dt.tz_localize("UTC").dt.tz_convert(zone).dt.date)


def test_customers_are_counted_and_listed_by_spending(named_shop, cli):
    shown = cli.json("customers --top 3")
    bought = purchases(named_shop)
    spent = bought.groupby("customer_id")["amount"].sum()
    assert shown["buyers"] == len(spent)
    assert shown["size"] >= shown["buyers"] >= shown["active"] > 0
    listed = [one["spent"] for one in shown["customers"]]
    assert listed == [round(value, 2) for value in spent.sort_values(ascending=False)[:3]]
    assert not any(customer in json.dumps(shown) for customer in spent.index)  # pseudonyms only


def test_customers_of_a_condition_are_counted_and_listed_in_the_order_asked_for(named_shop, cli):
    assert cli.json("customers --where 'city = Berlin'")["size"] == len(NAMES)
    assert cli.json("customers --where 'city = Berlln'")["note"]
    for order, column in (("orders", "orders"), ("newest", "first_order"), ("spent", "spent")):
        values = [one[column] for one in cli.json(f"customers --order {order}")["customers"]]
        assert values == sorted(values, reverse=True)


def test_sales_are_those_of_the_days_and_of_as_many_days_before(named_shop, cli):
    last = named_shop.end.date() - timedelta(days=3)
    first = last - timedelta(days=6)
    shown = cli.json(f"sales --from {first} --to {last}")
    bought = purchases(named_shop)
    week = bought[(bought["day"] >= first) & (bought["day"] <= last)]
    earlier = bought[bought["day"].between(first - timedelta(days=7), first - timedelta(days=1))]
    assert shown["revenue"] == pytest.approx(week["amount"].sum(), abs=0.01)
    assert shown["before"]["revenue"] == pytest.approx(earlier["amount"].sum(), abs=0.01)
    assert shown["customers"] == week["customer_id"].nunique()
    starts = bought.groupby("customer_id")["day"].min()
    assert shown["new"] == int(starts.between(first, last).sum())

    assert "2017-10-02" in cli.error("sales --from 2017-10-02 --to 2017-09-01")


def test_customer_is_found_by_name_and_namesakes_are_named_by_pseudonym(named_shop, cli):
    typed = {"Marta Fischer": "c0001", "marta  fischer": "c0001", "王芳": "c0004"}
    assert {
        name: read(named_shop.database, customer_directory.find, name) for name in typed
    } == typed
    said = cli.error("score 'Ana Lopez'")
    for customer in ("c0002", "c0003"):
        assert pseudonym(named_shop.settings.key, customer) in said
        assert customer not in said


def test_goods_are_the_shops_categories_and_brands(named_shop):
    items = named_shop.lake.table("items").execute()
    with named_shop.database.reading() as session:
        goods = customer_directory.stored_goods(session)
        assert "berlin" in (customer_directory.stored_places(session) or {})
    wanted = {name.lower() for name in items["category"].dropna()}
    assert {name for name, (column, _) in goods.items() if column == "category"} == wanted
    assert "berlin" not in goods


def test_schedule_takes_short_names_of_days(home, cli):
    typed = "digest schedule --at 08:00 --channel C0CRM0001 --day"
    assert cli.json(f"{typed} mon")["day"] == "monday"
    assert cli.json(f"{typed} Tuesday")["day"] == "tuesday"
    cli.error(f"{typed} someday")


def test_glossary_page_and_command_say_the_same(home, cli):
    assert cli.json("glossary holdout")["terms"] == ["hold-out group"]
    assert "drawn by lot" in cli.text("glossary holdout")
    cli.error("glossary qini")
    page = (ROOT / "docs/crm/glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", page, re.MULTILINE)[2:]
    plain = [re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", ": ".join(row)) for row in rows]
    assert cli.text("glossary").splitlines() == plain
    assert [term for term, _ in rows] == list(glossary.ALIASES)
