"""Quarantined rows have a reason and a remedy, and come in once the map or the rule lets them."""

import json
from contextlib import nullcontext
from datetime import datetime
from functools import partial

import pytest

from retention.errors import BadInput
from retention.lake.importing import quarantine
from retention.lake.importing.quarantine_reasons import Reason
from retention.lake.importing.release import release

MAP = """[events]
customer_id = "Customer"
occurred_at = "When"
order_id    = "Order"
amount      = { sql = '"Quantity" * "Price"' }
quantity    = "Quantity"
event_type  = { sql = '''%s''' }
"""
HEADER = "Order,Customer,When,Quantity,Price,Kind\n"


RIGHT = MAP % '"Kind"'
GOOD = "".join(f"{n},c{n},2025-02-0{n} 10:00:00,1,2.00,purchase\n" for n in range(1, 9))
BAD = (
    "101,c1,2025-02-03 11:00:00,1,2.00,sale\n102,c2,2025-02-04 11:00:00,1,2.00,sale\n"
    "103,,2025-02-05 11:00:00,1,2.00,purchase\n104,c4,never,1,2.00,purchase\n"
    "105,GUEST,2025-02-05 11:00:00,1,2.00,purchase\n"
    "106,c6,1990-01-01 00:00:00,1,2.00,purchase,too,many\n"
)


@pytest.fixture
def bring(import_file, database):
    """Return a function that imports a file of orders; by default, one with six bad rows."""

    def do(map_text=RIGHT, text=HEADER + GOOD + BAD, name="orders.csv", **how):
        return import_file(text, map_text, name=name, database=database, **how)

    return do


@pytest.fixture
def imported(bring):
    return bring()


@pytest.fixture
def map_path(tmp_path):
    """The map of the last import."""
    return tmp_path / "map.toml"


@pytest.fixture
def release_all(lake, database, settings):
    """Return a function that retries the quarantine."""
    return partial(release, lake, database, settings)


def test_release_imports_nested_rows_after_a_map_change(lake, bring, map_path, release_all):
    rows = [
        {"user": {"id": f"c{n}"}, "at": f"2025-02-0{n}", "kind": "sale" if n % 2 else "purchase"}
        for n in range(1, 9)
    ]
    nested = (
        "[events]\ncustomer_id = 'user.id'\noccurred_at = 'at'\nevent_type = { sql = '''%s''' }\n"
    )
    report = bring(nested % '"kind"', "\n".join(map(json.dumps, rows)), "nested.jsonl")
    assert (report.rows_accepted, report.rows_quarantined) == (4, 4)
    map_path.write_text(nested % "'purchase'")
    release_all()
    expected = [f"c{n}" for n in range(1, 9)]
    assert sorted(lake.table("events").customer_id.to_pyarrow().to_pylist()) == expected


def test_listing_has_reason_remedy_and_original_rows(lake, settings, imported):
    listing = quarantine.listing(lake.duckdb, settings)
    assert listing["rows"] == imported.rows_quarantined == 6
    by_reason = {group["reason"]: group for group in listing["reasons"]}
    (reason,) = (each for each in by_reason if each.startswith("event_type is none of"))
    sale = by_reason[reason]
    assert (sale["rows"], sale["tables"], sale["files"]) == (2, ["events"], ["orders.csv"])
    assert "CASE" in sale["remedy"]
    row = ("101", "c1", "2025-02-03 11:00:00", "1", "2.00", "sale")
    assert sale["examples"][0] == dict(zip(HEADER.strip().split(","), row, strict=True))
    guest = by_reason["customer_id stands for everybody who has none"]
    assert guest["examples"][0]["customer_id"] == "GUEST"
    assert any("too,many" in str(group["examples"]) for group in listing["reasons"])


def test_unknown_reason_error_lists_the_reasons(lake, settings, imported):
    assert quarantine.listing(lake.duckdb, settings, reason="event_type")["rows"] == 2
    with pytest.raises(BadInput, match="customer_id is missing"):
        quarantine.listing(lake.duckdb, settings, reason="weather")


def test_release_changes_nothing_with_the_same_rules(lake, imported, release_all):
    result = release_all()
    found = (result.rows_tried, result.rows_accepted, result.rows_kept)
    assert found == (5, 0, 5)  # a broken line is no row
    assert sum(result.quarantine.values()) == 6
    assert lake.table("events").count().execute() == 8


def test_release_imports_rows_once_after_a_map_fix(bring, imported, map_path, release_all):
    map_path.write_text(MAP % """CASE WHEN "Kind" = 'sale' THEN 'purchase' ELSE "Kind" END""")
    result = release_all(reason="event_type")
    assert (result.rows_tried, result.rows_accepted, result.rows_kept) == (2, 2, 0)
    assert sum(result.quarantine.values()) == 4
    again = release_all()
    assert again.rows_accepted == 0
    whole = bring(map_path.read_text())
    assert (whole.rows_accepted, whole.rows_duplicate) == (0, 10)


def test_release_imports_rows_after_a_rule_change(lake, settings, imported, release_all):
    (settings.home / "clean.toml").write_text('[placeholder_customer]\naction = "keep"\n')
    result = release_all()
    assert result.rows_accepted == 1
    events = lake.table("events")
    row = events.filter(events.customer_id == "GUEST").execute().to_dict("records")[0]
    assert (row["order_id"], row["amount"], row["source"]) == ("105", 2.0, "import")
    assert row["occurred_at"] == datetime(2025, 2, 5, 11)


def test_missing_map_is_noted_and_its_rows_stay(imported, map_path, release_all):
    map_path.unlink()
    result = release_all()
    assert "map.toml" in result.notes[0]
    assert sum(result.quarantine.values()) == 6


def test_release_refuses_a_map_that_cannot_be_read(imported, map_path, release_all):
    """It was a note, with exit status 0, below the rows that were tried without it."""
    with pytest.raises(BadInput, match=r"nope\.toml cannot be read: there is no such file"):
        release_all(map_path=map_path.with_name("nope.toml"))
    map_path.write_text(f"{RIGHT}[events\n")
    with pytest.raises(BadInput, match=r"map\.toml is not TOML"):
        release_all(map_path=map_path)


def test_number_remedy_works_with_the_maps_from(bring):
    """A column in a calculation is read as numbers first, so a conversion in the map came too late.

    The old remedy, "Convert it in the map with { sql = … }", helped nobody.
    """
    lines = [f"c{n},2025-02-{n + 1:02} 10:00:00,{'one' if n == 7 else n + 1}\n" for n in range(20)]
    text = "who,at,pieces\n" + "".join(lines)
    map_text = (
        "[events]\ncustomer_id = 'who'\noccurred_at = 'at'\nquantity = 'pieces'\n"
        "event_type = { sql = \"CASE WHEN pieces < 0 THEN 'return' ELSE 'purchase' END\" }\n"
    )
    assert bring(map_text, text).quarantine_text == {"pieces is no number": 1}
    expected = Reason.parse("pieces is no number").remedy
    assert "in the map's `from`, and import the file again" in expected
    mended = "SELECT * REPLACE (replace(pieces, 'one', '1') AS pieces) FROM source"
    again = bring(f'{map_text}from = {{ sql = "{mended}" }}\n', text)
    assert (again.rows_accepted, again.rows_duplicate, again.quarantine_path) == (1, 19, None)


def test_corrected_file_clears_its_quarantine(lake, settings, bring, imported):
    report = bring(text=HEADER + "1,c1,2025-02-01 10:00:00,1,2.00,purchase\n")
    assert (report.rows_duplicate, report.quarantine_path) == (1, None)
    assert quarantine.counts(lake.duckdb, settings) == {}


def test_release_keeps_a_refused_file_and_imports_the_others(
    lake, settings, bring, map_path, release_all
):
    """Their maps are kept by path, so each file has one of its own."""
    maps = {}
    for name, order in (("EUR", 1), ("USD", 2), ("EUR again", 3)):
        maps[name] = map_path.with_name(f"{name}.toml")
        maps[name].write_text(f'{RIGHT}currency = {{ value = "{name[:3]}" }}\n')
        kinds = ("purchase", "sale") if name == "EUR" else ("sale",)
        rows = (
            f"{order}{kind},c{order},2025-02-0{order} 10:00:00,1,2.00,{kind}\n" for kind in kinds
        )
        refused = nullcontext() if name == "EUR" else pytest.raises(BadInput, match="No row")
        with refused:
            bring(None, HEADER + "".join(rows), f"{name}.csv", map_path=maps[name])
    for path in maps.values():
        path.write_text(path.read_text().replace('"Kind"', "'purchase'"))
    result = release_all()
    assert (result.rows_accepted, result.rows_kept) == (2, 1)
    assert any("in USD, the shop's are in EUR" in note for note in result.notes)
    assert set(lake.table("events").currency.execute()) == {"EUR"}
    assert len(quarantine.counts(lake.duckdb, settings)) == 1


def test_refused_import_leaves_the_quarantine_unchanged(lake, settings, bring, imported):
    """A wrong map imports nothing, and what the right one set aside can still be corrected."""
    before = quarantine.listing(lake.duckdb, settings)
    says = r"No row of orders.csv can be used: .*; nothing was imported"
    with pytest.raises(BadInput, match=says):
        bring(RIGHT.replace('occurred_at = "When"', 'occurred_at = "Customer"'))
    assert quarantine.listing(lake.duckdb, settings) == before


def test_shows_the_newest_refused_attempt_until_one_succeeds(lake, settings, bring):
    """Who tries out maps looks at what is wrong with the last one."""

    def reasons():
        return {row["reason"] for row in quarantine.listing(lake.duckdb, settings)["reasons"]}

    def attempt(says, wrong):
        where = r"the rows with their reasons are in .*nothing was imported"
        with pytest.raises(BadInput, match=where):
            bring(RIGHT.replace(says, wrong))
        return reasons()

    first = attempt('occurred_at = "When"', 'occurred_at = "Customer"')
    second = attempt('customer_id = "Customer"', "customer_id = { sql = 'NULL' }")
    assert "occurred_at is no date or time" in first - second
    report = bring()
    assert reasons() == set(report.quarantine_text)
