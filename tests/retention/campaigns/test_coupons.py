"""Codes: they survive being typed, catch every slip of one character, and are never given twice."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from retention import clock
from retention.campaigns.codes import coupons
from retention.campaigns.codes.coupons import ALPHABET, check_character, new_code, normalize_code
from retention.db.tables import Coupon
from tests import world

bodies = st.text(ALPHABET, min_size=coupons.RANDOM_CHARACTERS, max_size=coupons.RANDOM_CHARACTERS)


def _code(body: str) -> str:
    return body + check_character(body)


@given(bodies)
def test_any_spelling_of_a_code_is_normalized(body):
    code = normalize_code(_code(body))
    assert code is not None
    assert normalize_code(code) == code
    assert normalize_code(code.lower().replace("-", " ")) == code
    assert normalize_code(code.replace("0", "O").replace("1", "l").replace("-", "–")) == code


@given(bodies, st.integers(0, coupons.RANDOM_CHARACTERS), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_detected(body, place, wrong):
    code = _code(body)
    typed = code[:place] + wrong + code[place + 1 :]
    assert (normalize_code(typed) is None) == (typed != code)


@given(bodies, st.integers(0, coupons.RANDOM_CHARACTERS), st.integers(0, coupons.RANDOM_CHARACTERS))
def test_two_swapped_characters_are_always_detected(body, first, second):
    code = list(_code(body))
    code[first], code[second] = code[second], code[first]
    assert (normalize_code("".join(code)) is None) == ("".join(code) != _code(body))


@pytest.mark.parametrize(
    "typed", ["", "7KQ2", "UUUU-UUUU-UUUU", "7KQ2-M9ZD-4HT6-0000", "<script>alert"]
)
def test_invalid_codes_are_rejected(typed):
    assert normalize_code(typed) is None


def test_new_codes_are_valid_readable_and_distinct():
    codes = {new_code() for _ in range(2_000)}
    assert len(codes) == 2_000
    assert all(normalize_code(code) == code for code in codes)
    assert not set("".join(codes)) & set("ILOU")


def test_repeated_reservation_gives_each_treated_customer_one_code(database, settings):
    at = clock.wall()

    def drawn(number: int):
        arm = "treatment" if number % 5 else "control"
        offer = {"action": "coupon" if number % 7 else "reminder", "discount": 0.1}
        return world.assignment("c1", f"k{number}", arm, offer=offer)

    world.add(database, world.campaign("c1"))
    world.add(database, *map(drawn, range(1200)))
    for _ in range(2):
        left = 1
        while left:
            left = world.change(database, coupons.reserve_codes, "c1", at, limit=500)
    expected = {f"k{n}": "issued" for n in range(1200) if n % 5 and n % 7}
    for _ in range(2):
        assert world.change(database, coupons.issue_codes, "c1", at) == len(expected)
    assert dict(world.rows(database, select(Coupon.customer_id, Coupon.state))) == expected
    assert world.change(database, coupons.void_codes, "c1") == len(expected)
    assert set(world.scalars(database, select(Coupon.state))) == {"void"}


@pytest.mark.parametrize(
    ("sent", "zone", "until"),
    [
        ("2025-03-01T23:30+00:00", "UTC", "2025-03-29T23:59:59+00:00"),
        # Still February there
        ("2025-03-01T03:30+00:00", "America/New_York", "2025-03-29T03:59:59+00:00"),
        # The clock goes forward that day
        ("2025-03-02T09:00+00:00", "Europe/London", "2025-03-30T22:59:59+00:00"),
    ],
)
def test_codes_expire_at_the_end_of_a_day_in_the_shops_calendar(sent, zone, until):
    expiry = coupons.valid_until(datetime.fromisoformat(sent), 28, ZoneInfo(zone))
    assert expiry == datetime.fromisoformat(until)
