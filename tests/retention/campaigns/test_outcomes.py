"""Test outcomes against hand-counted windows, returns and coupons."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import select, update

from retention import clock
from retention.campaigns.audience import buyers, contacted_customers
from retention.campaigns.coupons import new_code
from retention.campaigns.margins import average_margin
from retention.campaigns.outcomes import collect_outcomes
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.lake import Lake
from retention.lake.identity import links, review
from retention.lake.importing import import_files
from retention.outreach.contacts import customers_without_consent
from retention.risk.policy import DEFAULT, read_policy
from tests.retention.campaigns.samples import a_body
from tests.shop import merged

SENT = datetime(2025, 5, 1, 9, tzinfo=UTC)
END = SENT + timedelta(days=28)


def _events(*rows) -> pd.DataFrame:
    columns = [
        "customer_id",
        "event_type",
        "occurred_at",
        "order_id",
        "item_id",
        "amount",
        "discount",
    ]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(
        occurred_at=pd.to_datetime(frame["occurred_at"], utc=True), currency="EUR", source="shop"
    )


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
def lake(settings, database, tmp_path) -> Lake:
    lake = Lake.open(settings)
    tables = {
        "items": pd.DataFrame({"item_id": ["i1", "i2"], "margin": [0.5, None]}),
        "customers": pd.DataFrame(
            {"customer_id": ["a", "b", "c"], "marketing_consent": [True, False, None]}
        ),
        "events": _events(*ROWS),
    }
    for name, frame in tables.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
        import_files(lake, database, settings, name, [str(tmp_path / f"{name}.parquet")])
    return lake


@pytest.fixture
def campaign(database) -> Campaign:
    with database.transaction() as session:
        campaign_row = Campaign(
            id="c1",
            name="May",
            state="live",
            post_key="p",
            salt="s",
            drafted_by="u",
            sent_at=SENT,
            window_ends_at=END,
            body=a_body(contact_cost=1.0, margin=0.2).model_dump(mode="json"),
        )
        session.add(campaign_row)
        session.flush()
        for customer_id, arm in (
            ("a", "treatment"),
            ("b", "treatment"),
            ("c", "control"),
            ("d", "excluded"),
        ):
            session.add(
                Assignment(
                    campaign_id="c1",
                    customer_id=customer_id,
                    arm=arm,
                    bucket=1,
                    tier="high",
                    churn_probability=0.5,
                    expected_value=1.0,
                    offer={
                        "discount": 0.1,
                        "action": "coupon",
                        "segment": {"value": "low", "reason": "trend"},
                    },
                )
            )
        for code, who, order in (("AAAA", "a", "o1"), ("BBBB", "b", "o2")):
            session.add(
                Coupon(
                    code=code,
                    campaign_id="c1",
                    customer_id=who,
                    state="redeemed",
                    expires_at=END,
                    order_id=order,
                    redeemed_at=SENT + timedelta(days=1),
                )
            )
    return campaign_row


def test_both_groups_are_counted_alike_and_offers_cost(lake, database, campaign):
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    rows = counted.customers.set_index("customer_id")
    assert list(rows.index) == ["a", "b", "c"]
    assert list(rows["orders"]) == [1, 1, 0]
    assert list(rows["revenue"]) == [150, 30, 0]
    assert rows.loc["a", "profit"] == pytest.approx(
        100 * 0.5 + 50 * 0.2 - 15 - 1
    )  # as its redemption says
    assert rows.loc["b", "profit"] == pytest.approx(
        30 * 0.5 - 0.1 * 40 - 1
    )  # else the offer's share of the order
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
    lake, database, settings, campaign, pair, merged_at
):
    """Customers are counted as they were identified at the draft."""
    with database.transaction() as session:
        session.execute(update(Campaign).values(created_at=SENT - timedelta(days=2)))

    def counted(until: datetime) -> pd.DataFrame:
        with database.reading() as session:
            return collect_outcomes(lake, session, session.get_one(Campaign, "c1"), until).customers

    apart = counted(END)
    clock.configure(fixed=merged_at)
    merged(lake, pair)
    before = counted(END)
    assert before.equals(apart) == (merged_at > SENT)
    clock.configure(fixed=SENT + timedelta(days=6))
    review.decide(lake, database, settings, [links.link_id(*pair)], "undone", by="me")
    pd.testing.assert_frame_equal(counted(END), before)
    people = lake.identities.canonical_ids()
    assert people.get(pair[0], pair[0]) != people.get(pair[1], pair[1])


def test_fully_returned_order_earns_and_costs_nothing(lake, database, settings, campaign, tmp_path):
    """The return alone would count as a loss."""
    back = SENT + timedelta(days=5)
    rows = (
        ("a", "return", back, "o1", "i1", 100.0, None),
        ("a", "return", back, "o1", "i2", 50.0, None),
        ("c", "return", SENT - timedelta(hours=1), "o0", "i1", 20.0, None),
    )
    _events(*rows).to_parquet(tmp_path / "back.parquet")
    import_files(lake, database, settings, "events", [str(tmp_path / "back.parquet")])
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    told = counted.customers.set_index("customer_id")
    assert list(told["orders"]) == [0, 1, 0]
    assert list(told["revenue"]) == [0, 30, 0]
    assert told.loc["a", "profit"] == pytest.approx(
        -1
    )  # the contact; the code's 15 were given back too
    assert told.loc["c", "pre_revenue"] == 0
    assert counted.cost == pytest.approx(4 + 2)
    assert counted.profits.loc[counted.profits["customer_id"] == "a", "profit"].sum() == 0


@pytest.mark.parametrize("named", [True, False])
def test_discounts_of_other_codes_and_double_reports_do_not_count(
    lake, database, settings, campaign, tmp_path, named
):
    """One order with another code and two reports of ours."""
    ours, at = new_code(), SENT + timedelta(days=1)
    rows = _events(*[("b", "coupon_redeem", at, "o2", None, None, off) for off in (9.0, 4.5, 4.5)])
    rows = rows.assign(query=["WELCOME", ours.lower(), ours], source=["shop", "shop", "till"])
    rows.to_parquet(tmp_path / "codes.parquet")
    import_files(lake, database, settings, "events", [str(tmp_path / "codes.parquet")])
    with database.transaction() as session:
        session.execute(
            update(Coupon)
            .where(Coupon.customer_id == "b")
            .values(code=ours, order_id="o2" if named else None)
        )
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    rows = counted.customers.set_index("customer_id")
    assert rows.loc["b", "profit"] == pytest.approx(30 * 0.5 - 4.5 - 1)
    assert (counted.cost, counted.redeemed) == (pytest.approx(15 + 4.5 + 2), 2)


def test_calls_cost_the_call_cost(lake, database, campaign):
    """Calls do not cost the price of an e-mail."""
    line = a_body().offers[0].model_copy(update={"rule": "Call", "action": "call", "contact": 5.0})
    with database.transaction() as session:
        session.get_one(Campaign, "c1").body = a_body(contact_cost=1.0, offers=(line,)).model_dump(
            mode="json"
        )
        called = session.get_one(Assignment, ("c1", "a"))
        called.offer = {**called.offer, "rule": "Call"}
    with database.reading() as session:
        counted = collect_outcomes(lake, session, session.get_one(Campaign, "c1"))
    assert counted.contact == pytest.approx((5 + 1) / 2)
    assert counted.cost == pytest.approx(15 + 4 + 5 + 1)


def test_cancelled_sends_cost_no_contact(lake, database, campaign):
    """A campaign stopped after 31 of 960 e-mails pays for 31."""
    with database.transaction() as session:
        delivered = {"campaign_id": "c1", "channel": "email", "queued_at": SENT}
        session.add(Send(customer_id="a", state="cancelled", **delivered))
        session.add(Send(customer_id="b", state="sent", **delivered))
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert counted.cost == pytest.approx(15 + 4 + 1)


@pytest.mark.nightly_after(3)
@pytest.mark.parametrize(
    ("state", "contacts"),
    [
        ("sent", 1),
        ("held", 1),
        ("sending", 1),
        ("queued", 1),
        ("bounced", 0),
        ("failed", 0),
        ("cancelled", 0),
    ],
)
def test_only_possibly_delivered_emails_cost_a_contact(lake, database, campaign, state, contacts):
    """Refused e-mails and customers without an address cost nothing."""
    with database.transaction() as session:
        session.add(
            Send(campaign_id="c1", customer_id="a", channel="email", state=state, queued_at=SENT)
        )
        session.add(
            Send(campaign_id="c1", customer_id="b", channel="email", state="sent", queued_at=SENT)
        )
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert counted.cost == pytest.approx(15 + 4 + 1 + contacts)
    assert counted.contact == pytest.approx((1 + contacts) / 2)


def test_code_without_order_costs_a_share_of_that_days_purchases(lake, database, campaign):
    """Many tills report no order."""
    with database.transaction() as session:
        for code in session.scalars(select(Coupon)):
            code.order_id = None
        session.get_one(Coupon, "AAAA").redeemed_at = SENT + timedelta(hours=1)
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert counted.cost == pytest.approx(15 + 4 + 2)
    assert counted.redeemed == 2


def test_orders_stamped_at_midnight_match_the_local_date_of_the_use(
    settings, database, tmp_path, campaign
):
    """A use in the afternoon belongs to the same local day."""
    settings = settings.model_copy(update={"timezone": "America/New_York"})
    lake, midnight = Lake.open(settings), datetime(2025, 5, 4, 4, tzinfo=UTC)
    bought = ((who, "purchase", midnight, f"o{who}", "i1", 100.0, None) for who in "ab")
    for name, frame in {
        "items": pd.DataFrame({"item_id": ["i1"], "margin": [0.5]}),
        "customers": pd.DataFrame({"customer_id": ["a", "b", "c"]}),
        "events": _events(*bought),
    }.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
        import_files(lake, database, settings, name, [str(tmp_path / f"{name}.parquet")])
    with database.transaction() as session:
        for code, hours in (("AAAA", 8), ("BBBB", 23)):  # the latter is the next date in UTC
            used = session.get_one(Coupon, code)
            used.order_id, used.redeemed_at = None, midnight + timedelta(hours=hours)
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert counted.cost == pytest.approx(10 + 10 + 2)


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize(
    ("order", "cost"), [("o1", 15), (None, 15), ("slip 4711", 15), ("dated", 0)], ids=str
)
def test_use_dated_on_the_day_of_sending_costs_if_its_order_counts(
    lake, database, settings, tmp_path, campaign, order, cost
):
    """Many files have dates only, and the day of sending is the busiest."""
    midnight = SENT.replace(hour=0)
    dated = _events(("a", "purchase", midnight, "dated", "i1", 70.0, None))
    dated.to_parquet(tmp_path / "dated.parquet")
    import_files(lake, database, settings, "events", [str(tmp_path / "dated.parquet")])
    with database.transaction() as session:
        used = session.get_one(Coupon, "AAAA")
        used.order_id, used.redeemed_at = order, midnight
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert (counted.cost, counted.redeemed) == (pytest.approx(cost + 4 + 2), 2)
    assert counted.customers.set_index("customer_id").loc["a", "revenue"] == 150
    assert counted.profits["day"].min() == 0


def test_code_with_unknown_order_costs_a_share_of_that_days_purchases(lake, database, campaign):
    with database.transaction() as session:
        for code in session.scalars(select(Coupon)):
            code.order_id = f"slip 4711-{code.code}"
        session.get_one(Coupon, "AAAA").redeemed_at = SENT + timedelta(hours=1)
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert (counted.cost, counted.redeemed) == (pytest.approx(15 + 4 + 2), 2)


def test_code_used_on_a_day_without_orders_costs_nothing(lake, database, campaign):
    with database.transaction() as session:
        for code in session.scalars(select(Coupon)):
            code.order_id, code.redeemed_at = None, SENT + timedelta(days=9)
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert (counted.cost, counted.redeemed) == (pytest.approx(2), 2)


def test_only_contacts_cost_without_redemptions(lake, database, campaign):
    with database.transaction() as session:
        for code in session.scalars(select(Coupon)):
            code.state = "issued"
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
    assert (counted.cost, counted.redeemed) == (pytest.approx(2), 0)


def test_category_coupon_discounts_only_its_category(lake, database, campaign):
    lake.upsert(
        "items",
        pd.DataFrame({"item_id": ["i1", "i2"], "margin": [0.5, None], "category": ["tea", "wine"]}),
    )
    with database.transaction() as session:
        for row in session.scalars(select(Assignment)):
            row.offer = {**row.offer, "category": "wine"}
    with database.reading() as session:
        rows = collect_outcomes(lake, session, campaign).customers.set_index("customer_id")
    assert rows.loc["a", "profit"] == pytest.approx(
        100 * 0.5 + 50 * 0.2 - 15 - 1
    )  # as its redemption says
    assert rows.loc["b", "profit"] == pytest.approx(30 * 0.5 - 0 - 1)  # there was no wine in it


def test_later_events_change_no_outcome(lake, database, settings, campaign, tmp_path):
    with database.reading() as session:
        before = collect_outcomes(lake, session, campaign).customers
    later = [
        (who, "purchase", END + timedelta(days=day), f"x{day}", "i1", 500.0, None)
        for day in (0, 3)
        for who in "abc"
    ]
    _events(*later).to_parquet(tmp_path / "later.parquet")
    import_files(lake, database, settings, "events", [str(tmp_path / "later.parquet")])
    with database.reading() as session:
        after = collect_outcomes(lake, session, campaign).customers
    pd.testing.assert_frame_equal(before, after)


def test_consent_decides_which_customers_are_contacted(lake, database, settings):
    strict = read_policy(DEFAULT)
    lenient = strict.model_copy(
        update={"campaign": strict.campaign.model_copy(update={"consent": "unless_refused"})}
    )
    with database.reading() as session:
        for policy, no in ((strict, {"b", "c"}), (lenient, {"b"})):
            offers = {
                customer_id: {"rule": "High risk"} for customer_id in "abc"
            }  # of before the states of consent were kept
            assert customers_without_consent(lake, session, settings, policy, offers) == no
    assert buyers(lake, SENT + timedelta(days=1), END) == {"b"}
    lake.upsert(
        "treatments",
        pd.DataFrame(
            [
                ("old", "a", "treatment", SENT),
                ("old", "b", "control", SENT),
                ("old", "c", "treatment", END),
            ],
            columns=["campaign_id", "customer_id", "arm", "sent_at"],
        ),
    )
    with database.reading() as session:
        assert contacted_customers(lake, session, settings, SENT, END) == {"a"}
        assert contacted_customers(lake, session, settings, SENT + timedelta(days=1), END) == set()


@pytest.mark.parametrize(
    ("asks", "rule", "drawn", "no"),
    [
        ("unless_refused", "High risk", ["given"], "bc"),
        ("unless_refused", "High risk", ["given", "unknown"], "b"),
        ("required", "High risk", ["given", "unknown"], "bc"),  # the rule has become stricter since
        ("required", "Renamed since", ["given", "unknown"], "b"),
        ("unless_refused", "Renamed since", ["given"], "bc"),
    ],
)
def test_consent_must_meet_the_rule_of_the_draft_and_of_today(
    lake, database, settings, asks, rule, drawn, no
):
    usual = read_policy(DEFAULT)
    policy = usual.model_copy(
        update={"campaign": usual.campaign.model_copy(update={"consent": asks})}
    )
    offers = {customer_id: {"rule": rule, "consent": drawn} for customer_id in "abc"}
    with database.reading() as session:
        assert customers_without_consent(lake, session, settings, policy, offers) == {*no}


def test_margin_comes_from_recent_sales_or_the_policy(lake):
    assert average_margin(lake, END, 0.3) == (pytest.approx(0.5), True)
    assert average_margin(lake, SENT - timedelta(days=400), 0.3) == (0.3, False)
