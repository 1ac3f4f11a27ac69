"""Test outcomes against hand-counted windows, returns and coupons."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import select, update

from retention import clock
from retention.campaigns.codes.coupons import new_code
from retention.campaigns.measurement.outcomes import collect_outcomes
from retention.campaigns.planning.audience import buyers, contacted_customers
from retention.campaigns.planning.product_details import average_margin
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.lake import Lake
from retention.lake.identity import links, review
from retention.outreach.consent import customers_without_consent
from retention.risk.policy import DEFAULT, read_policy
from tests import world
from tests.retention.campaigns.samples import NOW as SENT
from tests.retention.campaigns.samples import a_body, a_line
from tests.shop import import_frame, merged, purchases
from tests.world import add, execute

END = SENT + timedelta(days=28)


def _events(*rows) -> pd.DataFrame:
    columns = "customer_id event_type occurred_at order_id item_id amount discount"
    frame = pd.DataFrame(rows, columns=columns.split())
    at = pd.to_datetime(frame["occurred_at"], utc=True)
    return frame.assign(occurred_at=at, currency="EUR", source="shop")


def _counted(lake, database, until=None):
    """The outcomes of the campaign as it is stored now."""
    with database.reading() as session:
        return collect_outcomes(lake, session, session.get_one(Campaign, "c1"), until)


def _by_customer(counted) -> pd.DataFrame:
    return counted.customers.set_index("customer_id")


ROWS = (
    ("a", "purchase", SENT, "o1", "i1", 100.0, None),  # the moment of sending is inside
    ("a", "purchase", SENT, "o1", "i2", 50.0, None),  # an item without a margin: the campaign's
    ("a", "coupon_redeem", SENT, "o1", None, None, 15.0),
    ("b", "purchase", SENT + timedelta(days=1), "o2", "i1", 40.0, None),
    ("b", "return", SENT + timedelta(days=2), "o2", "i1", 10.0, None),
    ("c", "purchase", END, "o3", "i1", 999.0, None),  # the end is outside
    ("c", "purchase", SENT - timedelta(days=1), "o0", "i1", 20.0, None),  # before: a covariate
    ("c", "purchase", SENT - timedelta(days=40), "o-1", "i1", 20.0, None),
    ("z", "purchase", SENT, "o9", "i1", 999.0, None),  # nobody of ours
)


@pytest.fixture
def lake(settings, database) -> Lake:
    lake = Lake.open(settings)
    consents = {"customer_id": ["a", "b", "c"], "marketing_consent": [True, False, None]}
    items = {"item_id": ["i1", "i2"], "margin": [0.5, None]}
    import_frame(lake, database, pd.DataFrame(items), "items")
    import_frame(lake, database, pd.DataFrame(consents), "customers")
    import_frame(lake, database, _events(*ROWS))
    return lake


@pytest.fixture(autouse=True)
def campaign(database) -> None:
    offer = {"discount": 0.1, "action": "coupon"}
    offer |= {"segment": {"value": "low", "reason": "trend"}}
    arms = {"a": "treatment", "b": "treatment", "c": "control", "d": "excluded"}
    used = {"campaign_id": "c1", "state": "redeemed", "expires_at": END}
    used["redeemed_at"] = SENT + timedelta(days=1)
    body = a_body(contact_cost=1.0, margin=0.2).model_dump(mode="json")
    window = {"sent_at": SENT, "window_ends_at": END}
    add(database, world.campaign("c1", state="live", body=body, **window))
    add(database, *(world.assignment("c1", who, arm, offer=offer) for who, arm in arms.items()))
    for code, who, order in (("AAAA", "a", "o1"), ("BBBB", "b", "o2")):
        add(database, Coupon(code=code, customer_id=who, order_id=order, **used))


def test_both_groups_are_counted_alike_and_offers_cost(lake, database):
    counted = _counted(lake, database)
    rows = _by_customer(counted)
    assert list(rows.index) == ["a", "b", "c"]
    assert list(rows["orders"]) == [1, 1, 0]
    assert list(rows["revenue"]) == [150, 30, 0]
    # As its redemption says
    assert rows.loc["a", "profit"] == pytest.approx(100 * 0.5 + 50 * 0.2 - 15 - 1)
    # Else the offer's share of the order
    assert rows.loc["b", "profit"] == pytest.approx(30 * 0.5 - 0.1 * 40 - 1)
    assert rows.loc["c", "profit"] == 0
    assert list(rows["pre_revenue"]) == [0, 0, 20]
    assert (counted.cost, counted.redeemed, counted.treated) == (pytest.approx(15 + 4 + 2), 2, 2)
    assert set(counted.orders["customer_id"]) == {"a", "b"}
    assert list(rows["history"]) == ["new", "new", "repeat"]
    assert set(rows["value"]) == {"low"}
    assert set(rows["reason"]) == {"trend"}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("merged_at", [SENT - timedelta(days=10), SENT + timedelta(days=3)])
@pytest.mark.parametrize("pair", [("a", "c"), ("a", "z")])
def test_merge_undone_within_the_window_changes_no_result(
    lake, database, settings, pair, merged_at
):
    """Customers are counted as they were identified at the draft."""
    execute(database, update(Campaign).values(created_at=SENT - timedelta(days=2)))
    apart = _counted(lake, database, END).customers
    clock.configure(fixed=merged_at)
    merged(lake, pair)
    before = _counted(lake, database, END).customers
    assert before.equals(apart) == (merged_at > SENT)
    clock.configure(fixed=SENT + timedelta(days=6))
    review.decide(lake, database, [links.link_id(*pair)], "undone", by="me")
    pd.testing.assert_frame_equal(_counted(lake, database, END).customers, before)
    people = lake.identities.canonical_ids()
    assert people.get(pair[0], pair[0]) != people.get(pair[1], pair[1])


def test_fully_returned_order_earns_and_costs_nothing(lake, database):
    """The return alone would count as a loss."""
    back = SENT + timedelta(days=5)
    rows = (
        ("a", "return", back, "o1", "i1", 100.0, None),
        ("a", "return", back, "o1", "i2", 50.0, None),
        ("c", "return", SENT - timedelta(hours=1), "o0", "i1", 20.0, None),
    )
    import_frame(lake, database, _events(*rows))
    counted = _counted(lake, database)
    rows = _by_customer(counted)
    assert list(rows["orders"]) == [0, 1, 0]
    assert list(rows["revenue"]) == [0, 30, 0]
    # The contact; the code's 15 were given back too
    assert rows.loc["a", "profit"] == pytest.approx(-1)
    assert rows.loc["c", "pre_revenue"] == 0
    assert counted.cost == pytest.approx(4 + 2)
    assert counted.profits.loc[counted.profits["customer_id"] == "a", "profit"].sum() == 0


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("named", [True, False])
def test_discounts_of_other_codes_and_double_reports_do_not_count(lake, database, named):
    """One order with another code and two reports of ours."""
    ours, at = new_code(), SENT + timedelta(days=1)
    rows = _events(*[("b", "coupon_redeem", at, "o2", None, None, off) for off in (9.0, 4.5, 4.5)])
    rows = rows.assign(query=["WELCOME", ours.lower(), ours], source=["shop", "shop", "till"])
    import_frame(lake, database, rows)
    used = update(Coupon).where(Coupon.customer_id == "b")
    execute(database, used.values(code=ours, order_id="o2" if named else None))
    counted = _counted(lake, database)
    rows = _by_customer(counted)
    assert rows.loc["b", "profit"] == pytest.approx(30 * 0.5 - 4.5 - 1)
    assert (counted.cost, counted.redeemed) == (pytest.approx(15 + 4.5 + 2), 2)


def test_calls_cost_the_call_cost(lake, database):
    """Calls do not cost the price of an e-mail."""
    line = a_line(rule="Call", action="call", contact=5.0)
    with database.transaction() as session:
        body = a_body(contact_cost=1.0, offers=(line,))
        session.get_one(Campaign, "c1").body = body.model_dump(mode="json")
        called = session.get_one(Assignment, ("c1", "a"))
        called.offer = {**called.offer, "rule": "Call"}
    counted = _counted(lake, database)
    assert counted.contact == pytest.approx((5 + 1) / 2)
    assert counted.cost == pytest.approx(15 + 4 + 5 + 1)


def test_points_cost_the_share_that_is_used_of_who_bought(lake, database):
    line = a_line(rule="Points", action="points", discount=0.0, face=8.0, redeemed=0.25)
    with database.transaction() as session:
        body = a_body(contact_cost=1.0, offers=(line,))
        session.get_one(Campaign, "c1").body = body.model_dump(mode="json")
        bought = session.get_one(Assignment, ("c1", "a"))
        bought.offer = {**bought.offer, "rule": "Points"}
    counted = _counted(lake, database)
    assert counted.cost == pytest.approx(15 + 4 + 8 * 0.25 + 2)
    assert _counted(lake, database, SENT).contact == pytest.approx(1)  # nobody has bought yet


@pytest.mark.nightly_after(3)
@pytest.mark.parametrize(
    ("state", "contacts"),
    [(state, 1) for state in ("sent", "held", "sending", "queued")]
    + [(state, 0) for state in ("bounced", "failed", "cancelled")],
)
def test_only_possibly_delivered_emails_cost_a_contact(lake, database, state, contacts):
    """Refused e-mails and customers without an address cost nothing."""
    queued = {"campaign_id": "c1", "channel": "email", "queued_at": SENT}
    for customer, its in (("a", state), ("b", "sent")):
        add(database, Send(customer_id=customer, state=its, **queued))
    counted = _counted(lake, database)
    assert counted.cost == pytest.approx(15 + 4 + 1 + contacts)
    assert counted.contact == pytest.approx((1 + contacts) / 2)


@pytest.mark.parametrize(
    ("order", "used_at", "cost"),
    [
        (None, SENT + timedelta(hours=1), 15 + 4),  # many tills report no order
        ("slip 4711", SENT + timedelta(hours=1), 15 + 4),
        (None, SENT + timedelta(days=9), 0),  # nobody ordered on that day
    ],
)
def test_code_without_a_known_order_costs_a_share_of_that_days_purchases(
    lake, database, order, used_at, cost
):
    with database.transaction() as session:
        for code in session.scalars(select(Coupon)):
            code.order_id = order and f"{order}-{code.code}"
            if code.code == "AAAA" or not cost:
                code.redeemed_at = used_at
    counted = _counted(lake, database)
    assert (counted.cost, counted.redeemed) == (pytest.approx(cost + 2), 2)


def test_orders_stamped_at_midnight_match_the_local_date_of_the_use(settings, database):
    """A use in the afternoon belongs to the same local day."""
    settings = settings.model_copy(update={"timezone": "America/New_York"})
    lake, midnight = Lake.open(settings), datetime(2025, 5, 4, 4, tzinfo=UTC)
    bought = ((who, "purchase", midnight, f"o{who}", "i1", 100.0, None) for who in "ab")
    database = database.using(settings)
    lake.upsert("items", pd.DataFrame({"item_id": ["i1"], "margin": [0.5]}))
    lake.upsert("customers", pd.DataFrame({"customer_id": ["a", "b", "c"]}))
    import_frame(lake, database, _events(*bought))
    with database.transaction() as session:
        for code, hours in (("AAAA", 8), ("BBBB", 23)):  # the latter is the next date in UTC
            used = session.get_one(Coupon, code)
            used.order_id, used.redeemed_at = None, midnight + timedelta(hours=hours)
    counted = _counted(lake, database)
    assert counted.cost == pytest.approx(10 + 10 + 2)


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize(
    ("order", "cost"), [("o1", 15), (None, 15), ("slip 4711", 15), ("dated", 0)], ids=str
)
def test_use_dated_on_the_day_of_sending_costs_if_its_order_counts(
    lake, database, settings, order, cost
):
    """Many files have dates only, and the day of sending is the busiest."""
    midnight = SENT.replace(hour=0)
    bought = ("a", "purchase", midnight, "dated", "i1", 70.0, None)
    import_frame(lake, database, _events(bought))
    with database.transaction() as session:
        used = session.get_one(Coupon, "AAAA")
        used.order_id, used.redeemed_at = order, midnight
    counted = _counted(lake, database)
    assert (counted.cost, counted.redeemed) == (pytest.approx(cost + 4 + 2), 2)
    assert _by_customer(counted).loc["a", "revenue"] == 150
    assert counted.profits["day"].min() == 0


def test_only_contacts_cost_without_redemptions(lake, database):
    execute(database, update(Coupon).values(state="issued"))
    counted = _counted(lake, database)
    assert (counted.cost, counted.redeemed) == (pytest.approx(2), 0)


def test_category_coupon_discounts_only_its_category(lake, database):
    items = {"item_id": ["i1", "i2"], "margin": [0.5, None], "category": ["tea", "wine"]}
    lake.upsert("items", pd.DataFrame(items))
    with database.transaction() as session:
        for row in session.scalars(select(Assignment)):
            row.offer = {**row.offer, "category": "wine"}
    rows = _by_customer(_counted(lake, database))
    # As its redemption says
    assert rows.loc["a", "profit"] == pytest.approx(100 * 0.5 + 50 * 0.2 - 15 - 1)
    assert rows.loc["b", "profit"] == pytest.approx(30 * 0.5 - 0 - 1)  # there was no wine in it


def test_later_events_change_no_outcome(lake, database):
    before = _counted(lake, database).customers
    for days in (0, 3):
        import_frame(lake, database, purchases(END + timedelta(days=days), "abc", 500.0))
    pd.testing.assert_frame_equal(before, _counted(lake, database).customers)


def _asking(consent: str):
    """The usual policy, with another rule about consent."""
    usual = read_policy(DEFAULT)
    campaign = usual.campaign.model_copy(update={"consent": consent})
    return usual.model_copy(update={"campaign": campaign})


def test_orders_and_contacts_of_a_period(lake, database):
    assert buyers(lake, SENT + timedelta(days=1), END) == {"b"}
    rows = [("a", "treatment", SENT), ("b", "control", SENT), ("c", "treatment", END)]
    treatments = pd.DataFrame(rows, columns=["customer_id", "arm", "sent_at"])
    lake.upsert("treatments", treatments.assign(campaign_id="old"))
    with database.reading() as session:
        assert contacted_customers(lake, session, SENT, END) == {"a"}
        assert contacted_customers(lake, session, SENT + timedelta(days=1), END) == set()


@pytest.mark.parametrize(
    ("asks", "rule", "drawn", "no"),
    [
        # Of before the states of consent were kept
        ("required", "High risk", None, "bc"),
        ("unless_refused", "High risk", None, "b"),
        ("unless_refused", "High risk", ["given"], "bc"),
        ("unless_refused", "High risk", ["given", "unknown"], "b"),
        ("required", "High risk", ["given", "unknown"], "bc"),  # the rule has become stricter since
        ("required", "Renamed since", ["given", "unknown"], "b"),
        ("unless_refused", "Renamed since", ["given"], "bc"),
    ],
)
def test_consent_must_meet_the_rule_of_the_draft_and_of_today(
    lake, database, asks, rule, drawn, no
):
    offer = {"rule": rule} | ({"consent": drawn} if drawn else {})
    offers = dict.fromkeys("abc", offer)
    with database.reading() as session:
        assert customers_without_consent(lake, session, _asking(asks), offers) == {*no}


def test_margin_comes_from_recent_sales_or_the_policy(lake):
    assert average_margin(lake, END, 0.3) == (pytest.approx(0.5), True)
    assert average_margin(lake, SENT - timedelta(days=400), 0.3) == (0.3, False)
