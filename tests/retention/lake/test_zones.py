"""Times that name no zone, where the shop has a clock of its own: what people are told of them."""

from datetime import datetime

import pytest

from retention.lake.importing.import_files import import_files


def _file(folder, text):
    path = folder / "rows.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("zone", "map_zone", "at", "has_note"),
    [
        ("Asia/Kolkata", "", "2025-07-01 12:00:00", True),
        ("Asia/Kolkata", "Europe/London", "2025-07-01 12:00:00", False),
        ("Asia/Kolkata", "", "2025-07-01 12:00:00+05:30", False),
        ("Asia/Kolkata", "", "1751371200", False),
        ("UTC", "", "2025-07-01 12:00:00", False),
    ],
)
def test_notes_times_without_a_zone_if_the_shop_has_one(
    lake, settings, tmp_path, zone, map_zone, at, has_note
):
    """They are read as UTC: an Indian shop's orders after 6:30 pm counted for the next day."""
    own = settings.model_copy(update={"timezone": zone})
    path = tmp_path / "map.toml"
    path.write_text(
        "[events]\ncustomer_id = 'who'\noccurred_at = 'at'\nevent_type = { value = 'purchase' }\n"
        + (f"timezone = '{map_zone}'\n" if map_zone else "")
    )
    report = import_files(lake, None, own, "events", [_file(tmp_path, f"who,at\na,{at}\n")], path)
    every = report.files[0].get("notes", [])
    notes = [note for note in every if "neither file nor map names a time zone" in note]
    assert [zone in note and note.startswith("at: ") for note in notes] == [True] * has_note


@pytest.mark.parametrize(
    ("occurred_at", "columns"),
    [
        ("""\"at\"::TIMESTAMP AT TIME ZONE 'Asia/Kolkata'""", []),
        ("""\"at\" || '+05:30'""", []),
        ("""coalesce(\"at\", \"seen\")""", ["at, seen: "]),
    ],
)
def test_zone_in_an_expression_needs_no_note(lake, settings, tmp_path, occurred_at, columns):
    """The note wrongly said that such times were read as UTC.

    It also named a column that only the filter reads.
    """
    own, path = settings.model_copy(update={"timezone": "Asia/Kolkata"}), tmp_path / "map.toml"
    path.write_text(
        "[events]\ncustomer_id = 'who'\nevent_type = { value = 'purchase' }\n"
        f"occurred_at = {{ sql = '''{occurred_at}''' }}\n"
        "where = { sql = '''\"seen\" > '2025-01-01'''' }\n"
    )
    file = _file(tmp_path, "who,at,seen\na,2025-07-01 12:00:00,2025-07-02 12:00:00\n")
    notes = import_files(lake, None, own, "events", [file], path).files[0].get("notes", [])
    assert [note[: note.index("neither")] for note in notes] == columns


def test_reimport_corrects_customer_times_as_the_note_says(lake, settings, tmp_path):
    """They were told to begin a home anew, for 'these events would count twice'."""
    own = settings.model_copy(update={"timezone": "Asia/Kolkata"})
    file = _file(tmp_path, "customer_id,email,created_at\na,a@x.org,2025-07-01 12:00\n")
    path = tmp_path / "map.toml"
    (note,) = import_files(lake, None, own, "customers", [file]).files[0]["notes"]
    assert note.endswith('write timezone = "Asia/Kolkata" into the map and import the file again.')
    path.write_text(
        "[customers]\ntimezone = 'Asia/Kolkata'\ncustomer_id = 'customer_id'\nemail = 'email'\n"
        "created_at = 'created_at'\n"
    )
    import_files(lake, None, own, "customers", [file], path)
    (customer,) = lake.table("customers").to_pyarrow().to_pylist()
    assert customer["created_at"] == datetime(2025, 7, 1, 6, 30)
