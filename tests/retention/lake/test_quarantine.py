"""Quarantined rows have a reason and a remedy, and come in once the map or the rule lets them."""

from datetime import datetime

import pytest

from retention.errors import BadInput
from retention.lake.importing import quarantine
from retention.lake.importing.import_files import import_files
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


@pytest.fixture
def map_path(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text(MAP % '"Kind"')
    return path


@pytest.fixture
def file(tmp_path):
    good = "".join(f"{n},c{n},2025-02-0{n} 10:00:00,1,2.00,purchase\n" for n in range(1, 9))
    bad = (
        "101,c1,2025-02-03 11:00:00,1,2.00,sale\n102,c2,2025-02-04 11:00:00,1,2.00,sale\n"
        "103,,2025-02-05 11:00:00,1,2.00,purchase\n104,c4,never,1,2.00,purchase\n"
        "105,GUEST,2025-02-05 11:00:00,1,2.00,purchase\n"
        "106,c6,1990-01-01 00:00:00,1,2.00,purchase,too,many\n"
    )
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + good + bad)
    return str(path)


@pytest.fixture
def imported(lake, database, settings, file, map_path):
    return import_files(lake, database, settings, "events", [file], map_path)


def test_release_imports_nested_rows_after_a_map_change(
    lake, database, settings, map_path, tmp_path
):
    path = tmp_path / "nested.jsonl"
    text = "".join(
        f'{{"user": {{"id": "c{n}"}}, "at": "2025-02-0{n}", '
        f'"kind": "{"sale" if n % 2 else "purchase"}"}}\n'
        for n in range(1, 9)
    )
    path.write_text(text)
    nested = (
        "[events]\ncustomer_id = 'user.id'\noccurred_at = 'at'\nevent_type = { sql = '''%s''' }\n"
    )
    map_path.write_text(nested % '"kind"')
    report = import_files(lake, database, settings, "events", [str(path)], map_path)
    assert (report.rows_accepted, report.rows_quarantined) == (4, 4)
    map_path.write_text(nested % "'purchase'")
    release(lake, database, settings)
    expected = [f"c{n}" for n in range(1, 9)]
    assert sorted(lake.table("events").customer_id.to_pyarrow().to_pylist()) == expected


def test_listing_has_reason_remedy_and_original_rows(lake, settings, imported):
    listing = quarantine.listing(lake.duckdb, settings)
    assert listing["rows"] == imported.rows_quarantined == 6
    by_reason = {group["reason"]: group for group in listing["reasons"]}
    sale = next(
        group for reason, group in by_reason.items() if reason.startswith("event_type is none of")
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
    assert any("too,many" in str(group["examples"]) for group in listing["reasons"])


def test_unknown_reason_error_lists_the_reasons(lake, settings, imported):
    assert quarantine.listing(lake.duckdb, settings, reason="event_type")["rows"] == 2
    with pytest.raises(BadInput, match="customer_id is missing"):
        quarantine.listing(lake.duckdb, settings, reason="weather")


def test_release_changes_nothing_with_the_same_rules(lake, database, settings, imported):
    result = release(lake, database, settings)
    found = (result.rows_tried, result.rows_accepted, result.rows_kept)
    assert found == (5, 0, 5)  # a broken line is no row
    assert sum(result.quarantine.values()) == 6
    assert lake.table("events").count().execute() == 8


def test_release_imports_rows_once_after_a_map_fix(
    lake, database, settings, imported, map_path, file
):
    map_path.write_text(MAP % """CASE WHEN "Kind" = 'sale' THEN 'purchase' ELSE "Kind" END""")
    result = release(lake, database, settings, reason="event_type")
    assert (result.rows_tried, result.rows_accepted, result.rows_kept) == (2, 2, 0)
    assert sum(result.quarantine.values()) == 4
    again = release(lake, database, settings)
    assert again.rows_accepted == 0
    whole = import_files(lake, database, settings, "events", [file], map_path)
    assert (whole.rows_accepted, whole.rows_duplicate) == (0, 10)


def test_release_imports_rows_after_a_rule_change(lake, database, settings, imported):
    (settings.home / "clean.toml").write_text('[placeholder_customer]\naction = "keep"\n')
    result = release(lake, database, settings)
    assert result.rows_accepted == 1
    events = lake.table("events")
    row = events.filter(events.customer_id == "GUEST").execute().to_dict("records")[0]
    assert (row["order_id"], row["amount"], row["source"]) == ("105", 2.0, "import")
    assert row["occurred_at"] == datetime(2025, 2, 5, 11)


def test_missing_map_is_noted_and_its_rows_stay(lake, database, settings, imported, map_path):
    map_path.unlink()
    result = release(lake, database, settings)
    assert "map.toml" in result.notes[0]
    assert sum(result.quarantine.values()) == 6


def test_release_refuses_a_missing_map(lake, database, settings, imported, tmp_path):
    """It was a note, with exit status 0, below the rows that were tried without it."""
    with pytest.raises(BadInput, match=r"nope\.toml cannot be read: there is no such file"):
        release(lake, database, settings, map_path=tmp_path / "nope.toml")


def test_release_refuses_a_map_that_is_not_toml(
    lake, database, settings, imported, map_path, tmp_path
):
    """It was a note, with exit status 0, below the rows that the map does not read."""
    bad = tmp_path / "bad.toml"
    bad.write_text(map_path.read_text() + "[events\n")
    with pytest.raises(BadInput, match=r"bad\.toml is not TOML"):
        release(lake, database, settings, map_path=bad)


def test_number_remedy_works_with_the_maps_from(lake, database, settings, tmp_path):
    """A column in a calculation is read as numbers first, so a conversion in the map came too late.

    The old remedy, "Convert it in the map with { sql = … }", helped nobody.
    """
    path, map_path = tmp_path / "sales.csv", tmp_path / "own.toml"
    lines = [f"c{n},2025-02-{n + 1:02} 10:00:00,{'one' if n == 7 else n + 1}\n" for n in range(20)]
    path.write_text("who,at,pieces\n" + "".join(lines))
    map_text = (
        "[events]\ncustomer_id = 'who'\noccurred_at = 'at'\nquantity = 'pieces'\n"
        "event_type = { sql = \"CASE WHEN pieces < 0 THEN 'return' ELSE 'purchase' END\" }\n"
    )
    map_path.write_text(map_text)
    report = import_files(lake, database, settings, "events", [str(path)], map_path)
    assert report.quarantine_text == {"pieces is no number": 1}
    expected = Reason.parse("pieces is no number").remedy
    assert "in the map's `from`, and import the file again" in expected
    mended = "SELECT * REPLACE (replace(pieces, 'one', '1') AS pieces) FROM source"
    map_path.write_text(f'{map_text}from = {{ sql = "{mended}" }}\n')
    again = import_files(lake, database, settings, "events", [str(path)], map_path)
    assert (again.rows_accepted, again.rows_duplicate, again.quarantine_path) == (1, 19, None)


def test_corrected_file_clears_its_quarantine(lake, database, settings, imported, map_path, file):
    with open(file, "w") as target:
        target.write(HEADER + "1,c1,2025-02-01 10:00:00,1,2.00,purchase\n")
    report = import_files(lake, database, settings, "events", [file], map_path)
    assert (report.rows_duplicate, report.quarantine_path) == (1, None)
    assert quarantine.counts(lake.duckdb, settings) == {}


def test_release_keeps_a_refused_file_and_imports_the_others(lake, database, settings, tmp_path):
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
    result = release(lake, database, settings)
    assert (result.rows_accepted, result.rows_kept) == (2, 1)
    assert any("in USD, the shop's are in EUR" in note for note in result.notes)
    assert set(lake.table("events").currency.execute()) == {"EUR"}
    assert len(quarantine.counts(lake.duckdb, settings)) == 1


def test_refused_import_leaves_the_quarantine_unchanged(
    lake, database, settings, imported, map_path, file
):
    """A wrong map imports nothing, and what the right one set aside can still be corrected."""
    before = quarantine.listing(lake.duckdb, settings)
    text = map_path.read_text().replace('occurred_at = "When"', 'occurred_at = "Customer"')
    map_path.write_text(text)
    says = r"No row of orders.csv can be used: .*; nothing was imported"
    with pytest.raises(BadInput, match=says):
        import_files(lake, database, settings, "events", [file], map_path)
    assert quarantine.listing(lake.duckdb, settings) == before


def test_shows_the_newest_refused_attempt_until_one_succeeds(
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
    found = {row["reason"] for row in quarantine.listing(lake.duckdb, settings)["reasons"]}
    assert found == set(report.quarantine_text)
