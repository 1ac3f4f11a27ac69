"""Quarantined rows can be read with reason and remedy, and come in once the map or the rule lets them."""

from datetime import datetime

import pytest

from retention.errors import BadInput
from retention.lake import Lake, quarantine
from retention.lake.importing import import_files
from retention.lake.quarantine_reasons import Reason
from retention.lake.release import release

MAP = """[events]
customer_id = "Customer"
occurred_at = "When"
order_id    = "Order"
amount      = { sql = '"Quantity" * "Price"' }
quantity    = "Quantity"
event_type  = { sql = '''%s''' }
"""
HEADER = "Order,Customer,When,Quantity,Price,Kind\n"


@pytest.fixture
def lake(settings):
    return Lake.open(settings)


@pytest.fixture
def map_path(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text(MAP % '"Kind"')
    return path


@pytest.fixture
def file(tmp_path):
    good = "".join(f"{n},c{n},2025-02-0{n} 10:00:00,1,2.00,purchase\n" for n in range(1, 9))
    bad = (
        "101,c1,2025-02-03 11:00:00,1,2.00,sale\n"
        "102,c2,2025-02-04 11:00:00,1,2.00,sale\n"
        "103,,2025-02-05 11:00:00,1,2.00,purchase\n"
        "104,c4,never,1,2.00,purchase\n"
        "105,GUEST,2025-02-05 11:00:00,1,2.00,purchase\n"
        "106,c6,1990-01-01 00:00:00,1,2.00,purchase,too,many\n"
    )
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + good + bad)
    return str(path)


@pytest.fixture
def imported(lake, database, settings, file, map_path):
    return import_files(lake, database, settings, "events", [file], map_path)


def test_nested_rows_come_in_once_they_can(lake, database, settings, map_path, tmp_path):
    path = tmp_path / "nested.jsonl"
    path.write_text(
        "".join(
            f'{{"user": {{"id": "c{n}"}}, "at": "2025-02-0{n}", "kind": "{"sale" if n % 2 else "purchase"}"}}\n'
            for n in range(1, 9)
        )
    )
    nested = (
        "[events]\ncustomer_id = 'user.id'\noccurred_at = 'at'\nevent_type = { sql = '''%s''' }\n"
    )
    map_path.write_text(nested % '"kind"')
    report = import_files(lake, database, settings, "events", [str(path)], map_path)
    assert (report.rows_accepted, report.rows_quarantined) == (4, 4)
    map_path.write_text(nested % "'purchase'")
    release(lake, database, settings)
    assert sorted(lake.table("events").customer_id.to_pyarrow().to_pylist()) == [
        f"c{n}" for n in range(1, 9)
    ]


def test_it_lists_reason_remedy_and_the_rows_as_they_were(lake, settings, imported):
    told = quarantine.listing(lake.duckdb, settings)
    assert told["rows"] == imported.rows_quarantined == 6
    by_reason = {one["reason"]: one for one in told["reasons"]}
    sale = next(
        one for reason, one in by_reason.items() if reason.startswith("event_type is none of")
    )
    assert sale["rows"] == 2
    assert "CASE" in sale["remedy"]
    assert (sale["tables"], sale["files"]) == (["events"], ["orders.csv"])
    assert sale["examples"][0] == {
        "Order": "101",
        "Customer": "c1",
        "When": "2025-02-03 11:00:00",
        "Quantity": "1",
        "Price": "2.00",
        "Kind": "sale",
    }
    guest = by_reason["customer_id stands for everybody who has none"]
    assert guest["examples"][0]["customer_id"] == "GUEST"
    assert any("too,many" in str(one["examples"]) for one in told["reasons"])


def test_an_unknown_reason_is_answered_with_those_there_are(lake, settings, imported):
    assert quarantine.listing(lake.duckdb, settings, reason="event_type")["rows"] == 2
    with pytest.raises(BadInput, match="customer_id is missing"):
        quarantine.listing(lake.duckdb, settings, reason="weather")


def test_nothing_changes_while_the_rules_are_the_same(lake, database, settings, imported):
    found = release(lake, database, settings)
    assert (found.rows_tried, found.rows_accepted, found.rows_kept) == (
        5,
        0,
        5,
    )  # a broken line is no row
    assert sum(found.quarantine.values()) == 6
    assert lake.table("events").count().execute() == 8


def test_a_mended_map_lets_its_rows_in_once(lake, database, settings, imported, map_path, file):
    map_path.write_text(MAP % """CASE WHEN "Kind" = 'sale' THEN 'purchase' ELSE "Kind" END""")
    found = release(lake, database, settings, reason="event_type")
    assert (found.rows_tried, found.rows_accepted, found.rows_kept) == (2, 2, 0)
    assert sum(found.quarantine.values()) == 4
    again = release(lake, database, settings)
    assert again.rows_accepted == 0
    whole = import_files(lake, database, settings, "events", [file], map_path)
    assert (whole.rows_accepted, whole.rows_duplicate) == (0, 10)


def test_a_changed_rule_lets_its_rows_in(lake, database, settings, imported):
    (settings.home / "clean.toml").write_text('[placeholder_customer]\naction = "keep"\n')
    found = release(lake, database, settings)
    assert found.rows_accepted == 1
    kept = lake.table("events")
    row = kept.filter(kept.customer_id == "GUEST").execute().to_dict("records")[0]
    assert (row["order_id"], row["amount"], row["source"]) == ("105", 2.0, "import")
    assert row["occurred_at"] == datetime(2025, 2, 5, 11)


def test_a_map_that_is_gone_is_told_and_its_rows_stay(lake, database, settings, imported, map_path):
    map_path.unlink()
    found = release(lake, database, settings)
    assert "map.toml" in found.notes[0]
    assert sum(found.quarantine.values()) == 6


def test_a_map_that_was_mistyped_is_refused(lake, database, settings, imported, tmp_path):
    """It was a note, with exit status 0, below the rows that were tried without it."""
    with pytest.raises(BadInput, match=r"nope\.toml cannot be read: there is no such file"):
        release(lake, database, settings, map_path=tmp_path / "nope.toml")


def test_a_map_that_is_no_toml_is_refused(lake, database, settings, imported, map_path, tmp_path):
    """It was a note, with exit status 0, below the rows that the map does not read."""
    bad = tmp_path / "bad.toml"
    bad.write_text(map_path.read_text() + "[events\n")
    with pytest.raises(BadInput, match=r"bad\.toml is not TOML"):
        release(lake, database, settings, map_path=bad)


def test_a_number_is_mended_in_from_as_its_remedy_says(lake, database, settings, tmp_path):
    """'Convert it in the map with { sql = … }' helped nobody: a column that is computed with is read as numbers first."""
    path, map_path = tmp_path / "sales.csv", tmp_path / "own.toml"
    lines = [f"c{n},2025-02-{n + 1:02} 10:00:00,{'one' if n == 7 else n + 1}\n" for n in range(20)]
    path.write_text("who,at,pieces\n" + "".join(lines))
    said = (
        "[events]\ncustomer_id = 'who'\noccurred_at = 'at'\nquantity = 'pieces'\n"
        "event_type = { sql = \"CASE WHEN pieces < 0 THEN 'return' ELSE 'purchase' END\" }\n"
    )
    map_path.write_text(said)
    report = import_files(lake, database, settings, "events", [str(path)], map_path)
    assert report.quarantine_text == {"pieces is no number": 1}
    assert (
        "in the map's `from`, and import the file again"
        in Reason.parse("pieces is no number").remedy
    )
    mended = "SELECT * REPLACE (replace(pieces, 'one', '1') AS pieces) FROM source"
    map_path.write_text(f'{said}from = {{ sql = "{mended}" }}\n')
    again = import_files(lake, database, settings, "events", [str(path)], map_path)
    assert (again.rows_accepted, again.rows_duplicate, again.quarantine_path) == (1, 19, None)


def test_a_mended_file_clears_its_quarantine(lake, database, settings, imported, map_path, file):
    with open(file, "w") as target:
        target.write(HEADER + "1,c1,2025-02-01 10:00:00,1,2.00,purchase\n")
    report = import_files(lake, database, settings, "events", [file], map_path)
    assert (report.rows_duplicate, report.quarantine_path) == (1, None)
    assert quarantine.counts(lake.duckdb, settings) == {}


def test_a_file_that_is_refused_as_a_whole_stays_and_the_others_come_in(
    lake, database, settings, tmp_path
):
    maps = {}
    for name, order in (("EUR", 1), ("USD", 2), ("EUR again", 3)):
        maps[name] = tmp_path / f"{name}.toml"
        file = tmp_path / f"{name}.csv"
        kinds = ("purchase", "sale") if name == "EUR" else ("sale",)
        rows = (
            f"{order}{kind},c{order},2025-02-0{order} 10:00:00,1,2.00,{kind}\n" for kind in kinds
        )
        file.write_text(HEADER + "".join(rows))
        maps[name].write_text(MAP % '"Kind"' + f'currency = {{ value = "{name[:3]}" }}\n')
        if name == "EUR":
            import_files(lake, database, settings, "events", [str(file)], maps[name])
        else:
            with pytest.raises(BadInput, match="No row"):
                import_files(lake, database, settings, "events", [str(file)], maps[name])
    for path in maps.values():
        path.write_text(path.read_text().replace('"Kind"', "'purchase'"))
    found = release(lake, database, settings)
    assert (found.rows_accepted, found.rows_kept) == (2, 1)
    assert any("in USD, the shop's are in EUR" in note for note in found.notes)
    assert set(lake.table("events").currency.execute()) == {"EUR"}
    assert len(quarantine.counts(lake.duckdb, settings)) == 1


def test_an_import_that_is_refused_leaves_the_quarantine_as_it_was(
    lake, database, settings, imported, map_path, file
):
    """The same file by a wrong map: nothing comes in, and what the right one set aside is still to be mended."""
    before = quarantine.listing(lake.duckdb, settings)
    map_path.write_text(
        map_path.read_text().replace('occurred_at = "When"', 'occurred_at = "Customer"')
    )
    with pytest.raises(
        BadInput, match=r"No row of orders.csv can be used: .*; nothing was imported"
    ):
        import_files(lake, database, settings, "events", [file], map_path)
    assert quarantine.listing(lake.duckdb, settings) == before


def test_of_refused_attempts_the_newest_is_shown_until_one_comes_in(
    lake, database, settings, map_path, file
):
    """Who tries out maps looks at what is wrong with the last one."""
    right = map_path.read_text()

    def attempt(says, wrong):
        map_path.write_text(right.replace(says, wrong))
        with pytest.raises(
            BadInput, match=r"the rows with their reasons are in .*nothing was imported"
        ):
            import_files(lake, database, settings, "events", [file], map_path)
        return {row["reason"] for row in quarantine.listing(lake.duckdb, settings)["reasons"]}

    first = attempt('occurred_at = "When"', 'occurred_at = "Customer"')
    second = attempt('customer_id = "Customer"', "customer_id = { sql = 'NULL' }")
    assert "occurred_at is no date or time" in first - second
    map_path.write_text(right)
    report = import_files(lake, database, settings, "events", [file], map_path)
    assert {row["reason"] for row in quarantine.listing(lake.duckdb, settings)["reasons"]} == set(
        report.quarantine_text
    )
