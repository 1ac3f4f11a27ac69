"""A long run of the nemesis; `make faults` prints its table."""

import pytest

from tests.faults import shop_codes, source_kills, variant_kills, webhook_kills
from tests.faults.__main__ import main


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [2, 3])
def test_nothing_is_lost_or_doubled(seed, capsys):
    assert main(120, seed, kills=20) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("lost=0 doubled=0")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_code_at_a_shop_is_lost_doubled_or_unapproved():
    counts = shop_codes.count_apart(60, 2)
    assert (counts.lost, counts.doubled, counts.unapproved) == (0, 0, 0)
    assert counts.kills >= 50


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_row_of_a_source_is_lost_or_doubled_by_kills():
    counts = source_kills.count_apart(30, 2)
    assert (counts.lost, counts.doubled) == (0, 0)
    assert counts.kills >= 30
    assert counts.between > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_webhook_of_a_shop_is_lost_or_doubled_by_kills():
    counts = webhook_kills.count_apart(40, 2)
    assert (counts.lost, counts.doubled) == (0, 0)
    assert counts.kills >= 40
    assert counts.between > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_email_of_a_test_of_variants_is_lost_doubled_or_unapproved():
    counts = variant_kills.count_apart(40, 2)
    assert (counts.lost, counts.doubled, counts.unapproved) == (0, 0, 0)
    assert counts.kills >= 40
