"""Times that name no zone, where the shop has a clock of its own: what people are told of them."""

from datetime import datetime

import pytest

from retention.lake import Lake
from retention.lake.importing import import_files


@pytest.fixture
def lake(settings):
    return Lake.open(settings)


def _file(folder, text):
    path = folder / "rows.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("zone", "map_zone", "at", "told"),
    [
        ("Asia/Kolkata", "", "2025-07-01 12:00:00", True),
        ("Asia/Kolkata", "Europe/London", "2025-07-01 12:00:00", False),
        ("Asia/Kolkata", "", "2025-07-01 12:00:00+05:30", False),
        ("Asia/Kolkata", "", "1751371200", False),
        ("UTC", "", "2025-07-01 12:00:00", False),
    ],
)
def test_times_without_a_zone_beside_a_shops_own_clock_are_told_of(
    lake, settings, tmp_path, zone, map_zone, at, told
):
    """They are read as UTC: an Indian shop's orders after half past six in the evening were the next day's."""
    own = settings.model_copy(update={"timezone": zone})
    path = tmp_path / "map.toml"
    path.write_text(
        "[events]\ncustomer_id = 'who'\noccurred_at = 'at'\nevent_type = { value = 'purchase' }\n"
        + (f"timezone = '{map_zone}'\n" if map_zone else "")
    )
    report = import_files(lake, None, own, "events", [_file(tmp_path, f"who,at\na,{at}\n")], path)
    notes = [
        note
        for note in report.files[0].get("notes", [])
        if "neither file nor map names a time zone" in note
    ]
    assert [zone in note and note.startswith("at: ") for note in notes] == [True] * told


@pytest.mark.parametrize(
    ("occurred_at", "told"),
    [
        ("""\"at\"::TIMESTAMP AT TIME ZONE 'Asia/Kolkata'""", []),
        ("""\"at\" || '+05:30'""", []),
        ("""coalesce(\"at\", \"seen\")""", ["at, seen: "]),
    ],
)
def test_a_zone_that_an_expression_names_is_named(lake, settings, tmp_path, occurred_at, told):
    """The note said that such times were read as UTC, and of a column that only the filter looks at as well."""
    own, path = settings.model_copy(update={"timezone": "Asia/Kolkata"}), tmp_path / "map.toml"
    path.write_text(
        "[events]\ncustomer_id = 'who'\nevent_type = { value = 'purchase' }\n"
        f"occurred_at = {{ sql = '''{occurred_at}''' }}\nwhere = {{ sql = '''\"seen\" > '2025-01-01'''' }}\n"
    )
    file = _file(tmp_path, "who,at,seen\na,2025-07-01 12:00:00,2025-07-02 12:00:00\n")
    notes = import_files(lake, None, own, "events", [file], path).files[0].get("notes", [])
    assert [note[: note.index("neither")] for note in notes] == told


def test_customers_without_a_zone_are_set_right_by_the_file_again_as_the_note_says(
    lake, settings, tmp_path
):
    """They were told to begin a home anew, for 'these events would count twice'."""
    own = settings.model_copy(update={"timezone": "Asia/Kolkata"})
    file, path = (
        _file(tmp_path, "customer_id,email,created_at\na,a@x.org,2025-07-01 12:00\n"),
        tmp_path / "map.toml",
    )
    (note,) = import_files(lake, None, own, "customers", [file]).files[0]["notes"]
    assert note.endswith('write timezone = "Asia/Kolkata" into the map and import the file again.')
    path.write_text(
        "[customers]\ntimezone = 'Asia/Kolkata'\ncustomer_id = 'customer_id'\nemail = 'email'\ncreated_at = 'created_at'\n"
    )
    import_files(lake, None, own, "customers", [file], path)
    (customer,) = lake.table("customers").to_pyarrow().to_pylist()
    assert customer["created_at"] == datetime(2025, 7, 1, 6, 30)
