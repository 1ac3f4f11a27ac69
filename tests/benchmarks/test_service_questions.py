"""Check the questions for customer service against the data of their shop."""

import csv
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "service_shop"
OUTCOMES = {"unknown", "handover", "sign-in"}
FIELDS = {
    *("id", "kind", "language", "customer", "text"),
    *("sources", "must_contain", "must_not_contain"),
}


def rows(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file of the shop."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def questions(name: str) -> list[dict]:
    """Questions of a file, in order."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@cache
def texts() -> dict[str, str]:
    """What the data says under each source id."""
    sources: dict[str, str] = {}
    for path in (FOLDER / "policies").glob("*.md"):
        parts = re.split(r"^## (.+)$", path.read_text("utf-8"), flags=re.MULTILINE)[1:]
        for heading, body in zip(parts[::2], parts[1::2], strict=True):
            sources[f"policy:{path.stem}#{heading}"] = body
    items = {row["item_id"]: row for row in rows("items.csv")}
    for item_id, item in items.items():
        sources[f"item:{item_id}"] = " ".join(item.values())
    for event in rows("events.csv"):
        line = " ".join([*event.values(), items[event["item_id"]]["title"]])
        key = f"order:{event['order_id']}"
        sources[key] = f"{sources.get(key, '')} {line}"
    for code in rows("codes.csv"):
        percent = f"{float(code['discount']):.0%}"
        sources[f"code:{code['code']}"] = " ".join([*code.values(), percent])
    return sources


def owners() -> dict[str, str]:
    """The customer of each order and code."""
    orders = {f"order:{row['order_id']}": row["customer_id"] for row in rows("events.csv")}
    return orders | {f"code:{row['code']}": row["customer_id"] for row in rows("codes.csv")}


both = pytest.mark.parametrize("name", ["questions.jsonl", "practice.jsonl", "hard_practice.jsonl"])


@pytest.mark.parametrize(
    ("name", "kinds", "languages"),
    [
        (
            "questions.jsonl",
            {"answerable": 100, "unanswerable": 30, "hostile": 20},
            {"en": 100, "zh": 50},
        ),
        (
            "practice.jsonl",
            {"answerable": 27, "unanswerable": 8, "hostile": 5},
            {"en": 27, "zh": 13},
        ),
    ],
)
def test_files_have_their_mix_of_kinds_and_languages(name, kinds, languages):
    assert Counter(question["kind"] for question in questions(name)) == kinds
    assert Counter(question["language"] for question in questions(name)) == languages


def test_shop_has_its_items_customers_and_events():
    assert len(rows("items.csv")) == 60
    assert len(rows("customers.csv")) == 8
    kinds = Counter(row["event_type"] for row in rows("events.csv"))
    assert kinds == {"purchase": 40, "return": 3}
    assert len(list((FOLDER / "policies").glob("*.md"))) == 16


def test_ids_are_unique_and_no_text_occurs_twice():
    everything = questions("questions.jsonl") + questions("practice.jsonl")
    for field in ("id", "text"):
        counts = Counter(question[field].casefold() for question in everything)
        assert [value for value, count in counts.items() if count > 1] == []


@both
def test_each_question_has_all_fields(name):
    customers = {row["customer_id"] for row in rows("customers.csv")} | {None}
    for question in questions(name):
        assert set(question) == FIELDS, question["id"]
        assert question["customer"] in customers, question["id"]
        assert question["sources"], question["id"]


@both
def test_each_source_exists_and_belongs_to_the_customer(name):
    owner = owners()
    for question in questions(name):
        for source in question["sources"]:
            assert source in OUTCOMES or source in texts(), question["id"]
            assert owner.get(source, question["customer"]) == question["customer"], question["id"]


@both
def test_each_fact_stands_in_every_named_source(name):
    for question in questions(name):
        named = [source for source in question["sources"] if source not in OUTCOMES]
        assert named or not question["must_contain"], question["id"]
        for source in named:
            missing = [fact for fact in question["must_contain"] if fact not in texts()[source]]
            assert missing == [], (question["id"], source)


@both
def test_forbidden_strings_are_in_no_accepted_source(name):
    for question in questions(name):
        allowed = " ".join(texts().get(source, "") for source in question["sources"])
        assert [text for text in question["must_not_contain"] if text in allowed] == []


@both
def test_codes_that_answer_have_not_expired(name):
    valid = {
        f"code:{row['code']}" for row in rows("codes.csv") if row["valid_until"] > "2026-11-15"
    }
    for question in questions(name):
        codes = {source for source in question["sources"] if source.startswith("code:")}
        assert codes <= valid, question["id"]


@both
def test_only_unanswerable_and_hostile_questions_accept_unknown(name):
    for question in questions(name):
        accepts = "unknown" in question["sources"] or "handover" in question["sources"]
        assert accepts == (question["kind"] != "answerable"), question["id"]
