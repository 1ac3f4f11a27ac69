"""Times that name no zone, where the shop has a clock of its own: what people are told of them."""

from datetime import datetime

import pytest

MAP = "[events]\ncustomer_id = 'who'\nevent_type = { value = 'purchase' }\n"


@pytest.fixture
def notes_of(settings, import_file):
    """Return a function that imports a file in a shop's time zone and returns the notes."""

    def do(zone, *file, **how):
        own = settings.model_copy(update={"timezone": zone})
        return import_file(*file, own=own, **how).files[0].get("notes", [])

    return do


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
def test_notes_times_without_a_zone_if_the_shop_has_one(notes_of, zone, map_zone, at, has_note):
    """They are read as UTC: an Indian shop's orders after 6:30 pm counted for the next day."""
    map_text = MAP + "occurred_at = 'at'\n" + (f"timezone = '{map_zone}'\n" if map_zone else "")
    every = notes_of(zone, f"who,at\na,{at}\n", map_text)
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
def test_zone_in_an_expression_needs_no_note(notes_of, occurred_at, columns):
    """The note wrongly said that such times were read as UTC.

    It also named a column that only the filter reads.
    """
    map_text = (
        f"{MAP}occurred_at = {{ sql = '''{occurred_at}''' }}\n"
        "where = { sql = '''\"seen\" > '2025-01-01'''' }\n"
    )
    rows = "who,at,seen\na,2025-07-01 12:00:00,2025-07-02 12:00:00\n"
    notes = notes_of("Asia/Kolkata", rows, map_text)
    assert [note[: note.index("neither")] for note in notes] == columns


def test_reimport_corrects_customer_times_as_the_note_says(lake, notes_of):
    """They were told to begin a home anew, for 'these events would count twice'."""
    text = "customer_id,email,created_at\na,a@x.org,2025-07-01 12:00\n"
    (note,) = notes_of("Asia/Kolkata", text, table="customers")
    assert note.endswith('write timezone = "Asia/Kolkata" into the map and import the file again.')
    map_text = (
        "[customers]\ntimezone = 'Asia/Kolkata'\ncustomer_id = 'customer_id'\nemail = 'email'\n"
        "created_at = 'created_at'\n"
    )
    notes_of("Asia/Kolkata", text, map_text, "customers")
    (customer,) = lake.table("customers").to_pyarrow().to_pylist()
    assert customer["created_at"] == datetime(2025, 7, 1, 6, 30)
