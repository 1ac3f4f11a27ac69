"""`customers`, `sales`, `glossary` and customers by name, in the terminal."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from bot import glossary
from bot.terminal import run
from retention.lake import customer_directory, places
from retention.privacy import pseudonym

NAMES = {"c0001": "Marta Fischer", "c0002": "Ana Lopez", "c0003": "Ana Lopez", "c0004": "王芳"}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(shop_copy, monkeypatch):
    """The tiny shop with names and cities of a few customers."""
    rows = [
        {
            "customer_id": customer,
            "created_at": pd.Timestamp(shop_copy.begin),
            "name": name,
            "attributes": json.dumps({"city": "Berlin"}),
        }
        for customer, name in NAMES.items()
    ]
    shop_copy.lake.upsert("customers", pd.DataFrame(rows))
    customer_directory.sync(shop_copy.lake, shop_copy.database, shop_copy.settings)
    monkeypatch.setenv("RETENTION_HOME", str(shop_copy.settings.home))
    monkeypatch.setenv("RETENTION_NOW", shop_copy.end.isoformat())
    return shop_copy


def printed(capsys, *typed: str) -> dict:
    assert run([*typed, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def purchases(home) -> pd.DataFrame:
    events = home.lake.table("events", before=home.end)
    frame = events.filter(events.event_type == "purchase").execute()
    zone = home.settings.timezone
    return frame.assign(day=frame["occurred_at"].dt.tz_localize("UTC").dt.tz_convert(zone).dt.date)


def test_customers_are_counted_and_listed_by_spending(home, capsys):
    shown = printed(capsys, "customers", "--top", "3")
    bought = purchases(home)
    spent = bought.groupby("customer_id")["amount"].sum()
    assert shown["buyers"] == len(spent)
    assert shown["size"] >= shown["buyers"] >= shown["active"] > 0
    listed = [one["spent"] for one in shown["customers"]]
    assert listed == [round(value, 2) for value in spent.sort_values(ascending=False)[:3]]
    assert not any(customer in json.dumps(shown) for customer in spent.index)  # pseudonyms only


def test_customers_of_a_condition_are_counted(home, capsys):
    assert printed(capsys, "customers", "--where", "city = Berlin")["size"] == len(NAMES)
    assert printed(capsys, "customers", "--where", "city = Berlln")["note"]


@pytest.mark.parametrize(
    ("order", "column"), [("orders", "orders"), ("newest", "first_order"), ("spent", "spent")]
)
def test_customers_are_listed_in_the_order_that_was_asked_for(home, capsys, order, column):
    values = [one[column] for one in printed(capsys, "customers", "--order", order)["customers"]]
    assert values == sorted(values, reverse=True)


def test_sales_are_those_of_the_days_and_of_as_many_days_before(home, capsys):
    last = home.end.date() - timedelta(days=3)
    first = last - timedelta(days=6)
    shown = printed(capsys, "sales", "--from", str(first), "--to", str(last))
    bought = purchases(home)
    week = bought[(bought["day"] >= first) & (bought["day"] <= last)]
    earlier = bought[bought["day"].between(first - timedelta(days=7), first - timedelta(days=1))]
    assert shown["revenue"] == pytest.approx(week["amount"].sum(), abs=0.01)
    assert shown["before"]["revenue"] == pytest.approx(earlier["amount"].sum(), abs=0.01)
    assert shown["customers"] == week["customer_id"].nunique()
    starts = bought.groupby("customer_id")["day"].min()
    assert shown["new"] == int(starts.between(first, last).sum())


def test_sales_refuse_days_in_the_wrong_order(home, capsys):
    assert run(["sales", "--from", "2017-10-02", "--to", "2017-09-01"]) == 2
    assert "2017-10-02" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["Marta Fischer", "marta  fischer"])
def test_customer_is_found_by_name(home, typed):
    with home.database.reading() as session:
        assert customer_directory.find(session, home.settings, typed) == "c0001"
        assert customer_directory.find(session, home.settings, "王芳") == "c0004"


def test_namesakes_are_named_by_pseudonym(home, capsys):
    assert run(["score", "Ana Lopez"]) == 2
    said = capsys.readouterr().err
    for customer in ("c0002", "c0003"):
        assert pseudonym(home.settings.key, customer) in said
        assert customer not in said


def test_goods_are_the_shops_categories_and_brands(home):
    items = home.lake.table("items").execute()
    with home.database.reading() as session:
        goods = places.stored_goods(session, home.settings)
        assert "berlin" in (places.stored(session, home.settings) or {})
    wanted = {name.lower() for name in items["category"].dropna()}
    assert {name for name, (column, _) in goods.items() if column == "category"} == wanted
    assert "berlin" not in goods


def test_schedule_takes_short_names_of_days(home, capsys):
    typed = ["digest", "schedule", "--at", "08:00", "--channel", "C0CRM0001", "--day"]
    assert printed(capsys, *typed, "mon")["day"] == "monday"
    assert printed(capsys, *typed, "Tuesday")["day"] == "tuesday"
    assert run([*typed, "someday"]) == 2


def test_glossary_explains_a_word_by_any_of_its_names(capsys, home):
    (term,) = printed(capsys, "glossary", "holdout")["terms"]
    assert term == "hold-out group"
    assert run(["glossary", "holdout"]) == 0
    assert "drawn by lot" in capsys.readouterr().out
    assert run(["glossary", "qini"]) == 2


def test_glossary_page_and_command_say_the_same(home, capsys):
    page = (ROOT / "docs/crm/glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", page, re.MULTILINE)[2:]
    plain = [re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", ": ".join(row)) for row in rows]
    assert run(["glossary"]) == 0
    assert capsys.readouterr().out.splitlines() == plain
    assert [term for term, _ in rows] == list(glossary.ALIASES)
