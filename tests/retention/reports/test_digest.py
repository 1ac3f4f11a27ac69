"""Test the weekly digest of the tiny shop: its numbers and its page."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from retention import clock
from retention.db.tables import Job
from retention.errors import TooLittleData
from retention.lake import Lake
from retention.reports.digest import _posted_digests, _posted_risk, digest, top_products
from tests import readonly
from tests.retention.reports.samples import add_campaign, add_measured_campaign
from tests.world import add

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def desk(shop, tmp_path):
    """A copy of the tiny shop, three weeks before its last event."""
    copy = readonly.copy_of(shop, tmp_path / "home", currency="EUR")
    clock.configure(fixed=shop.end - timedelta(days=21))
    yield copy.database, copy.lake, shop.end
    copy.database.dispose()


@pytest.mark.nightly
def test_digest_is_json_with_consistent_parts(desk):
    database, lake, _ = desk
    weekly_digest = digest(lake, database)
    data = json.loads(json.dumps(weekly_digest.data))
    assert data["as_of"] == clock.now().isoformat()
    assert sum(data["risk"]["tiers"].values()) == data["risk"]["customers"]
    for tier, change in data["risk"]["change"].items():
        assert data["risk"]["tiers"][tier] - data["risk"]["before"][tier] == change
    assert data["customers"]["active"] == data["customers"]["weeks"][-1]["customers"]
    assert data["currency"] == "EUR"
    assert data["came_true"] is None
    assert data["top_items"]["customers"] == min(300, data["risk"]["tiers"]["high"])
    assert data["top_items"].keys() == {"customers", "list", "items", "model_version"}


def test_one_product_under_two_numbers_is_one_to_the_reader():
    pairs = (("1", "Milk"), ("2", "Milk"), ("3", "Bread"))
    milk, other, bread = (SimpleNamespace(item_id=n, title=t) for n, t in pairs)
    products = top_products(
        {"ann": [milk, bread], "ben": [other], "cas": [other, bread], "dee": [bread, milk, other]}
    )
    found = [(product["title"], product["item_id"], product["customers"]) for product in products]
    assert found == [("Milk", "1", 4), ("Bread", "3", 3)]
    assert products[0]["who"] == ["ann", "ben", "cas"]


def test_later_events_do_not_change_the_digest(desk):
    database, lake, end = desk
    earlier = digest(lake, database, as_of=end - timedelta(days=60))
    assert earlier.data["data"]["newest_event"] < (end - timedelta(days=60)).isoformat()
    clock.configure(fixed=end)
    assert digest(lake, database, as_of=end - timedelta(days=60)).data == earlier.data


def test_a_shop_without_events_is_told_what_to_do(settings, database):
    with pytest.raises(TooLittleData, match="retention import"):
        digest(Lake.open(settings), database)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("advice", "says"),
    [("too_small", "too few bought to tell"), ("unbelievable", "not to be read")],
)
def test_page_escapes_names_and_shows_no_gain_of_an_inconclusive_campaign(desk, advice, says):
    database, lake, _ = desk
    add_campaign(database, name='<!channel> & "friends"', state="submitted")
    add_measured_campaign(database, campaign_id="c2", advice=advice)
    page = digest(lake, database).html(database.settings)
    assert "&lt;!channel&gt;" in page
    assert "<!channel>" not in page
    assert says in page
    assert "€250" not in page


@pytest.mark.parametrize(
    ("hours", "version", "high", "shown"),
    [
        (0.2, "m1", 0.6, True),  # the newest order came some minutes before
        (-30, "m1", 0.6, False),  # another day
        (0, "m0", 0.6, False),  # another model
        (0, "m1", 0.9, False),  # other thresholds
    ],
)
def test_last_weeks_digest_is_shown_again_only_if_comparable(database, hours, version, high, shown):
    tiers = SimpleNamespace(model_dump=lambda: {"high": 0.6})
    risk = {"tiers": {"high": 7}, "revenue_at_risk": 9.5}
    risk |= {"model_version": version, "thresholds": {"high": high}}
    _post(database, {"as_of": (NOW - timedelta(hours=hours)).isoformat(), "risk": risk})
    with database.reading() as session:
        row = SimpleNamespace(version="m1")
        posted = _posted_digests(session, NOW)
        found = _posted_risk(posted, row, tiers)
        assert (found is not None and found.tiers == {"high": 7}) == shown
        assert _posted_risk(posted, None, tiers) is None


def _post(database, data) -> None:
    row = {"kind": "digest", "queue": "batch", "args": {}, "idem_key": "posted", "state": "done"}
    team = database.settings.team_id
    add(database, Job(id="posted", team_id=team, requested_by="U0ANALYST", result=data, **row))


@pytest.mark.nightly
def test_digests_at_other_hours_of_the_day_agree_on_a_week(desk):
    database, lake, end = desk
    at = end - timedelta(days=28)
    first = digest(lake, database, as_of=at + timedelta(minutes=7)).data
    _post(database, first)
    later = digest(lake, database, as_of=at + timedelta(days=7, minutes=12)).data
    shown, now = first["customers"], later["customers"]
    assert now["since"] == shown["until"]
    assert now["corrected"] == []
    for name, change in now["change"].items():
        assert change == round(now[name]) - round(shown[name])


@pytest.mark.nightly
def test_late_orders_correct_last_weeks_figures_openly(desk):
    database, lake, end = desk
    at = end - timedelta(days=28)
    first = digest(lake, database, as_of=at).data
    first["customers"]["active"] -= 1  # an order of that week was imported later
    first["customers"]["revenue"] -= 20.0
    _post(database, first)
    later = digest(lake, database, as_of=at + timedelta(days=7))
    assert later.data["customers"]["corrected"] == ["active", "revenue"]
    assert "last week corrected to" in later.html(database.settings)
