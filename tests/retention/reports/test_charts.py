"""Charts: real pictures, the same each time, said in words as well."""

import struct

from retention.reports import charts

ACTIVE = [("3 Oct", 120), ("10 Oct", 1_130)]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_the_weeks_picture_says_its_numbers_in_words():
    made = charts.weeks(
        ACTIVE, {"high": 9, "medium": 20, "low": 3_000}, {"high": 7, "medium": 21, "low": 3_001}
    )
    assert size(made.png)[0] == round(charts.WIDTH * charts.DPI)
    for number in ("120", "1,130", "9 high", "7 high", "3,000 low"):
        assert number in made.alt_text


def test_the_same_numbers_give_the_same_bytes():
    assert charts.weeks(ACTIVE, {}, {}).png == charts.weeks(ACTIVE, {}, {}).png


def test_a_shop_with_no_weeks_and_no_scores_still_has_a_picture():
    assert size(charts.weeks([], {}, {}).png)
    assert size(charts.weeks([("1 Jan", 0)], {"high": 0, "medium": 0, "low": 0}, {}).png)
