"""Test recipients, items and codes of a sending."""

import re
from collections import Counter
from datetime import datetime, time, timedelta

import pytest
from sqlalchemy import func, select, update

from retention import clock, erasure
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.campaigns.lifecycle import launch
from retention.campaigns.message import customer_message, email_content
from retention.campaigns.planning import programme_holdout
from retention.db.tables import Assignment, Audit, Coupon, Impression, Outbox, Send
from retention.outreach import calls, consent
from retention.outreach.adapter import Contact
from tests.shop import merged
from tests.workers.campaigns.desk import ANALYST, LEAD
from workers import action_ids
from workers.campaigns import call_messages
from workers.job_requests import CallWindow


def _sold_out_before_it_is_sent(desk, many) -> set[str]:
    """So many of the items that are offered most."""
    offered = Counter(item for items in desk.items_offered().values() for item in items)
    popular = {item for item, _ in offered.most_common(many)}
    items = desk.table("items")
    desk.lake.upsert("items", items.assign(in_stock=~items["item_id"].isin(popular)))
    desk.send_now()
    return popular


@pytest.mark.campaign("approved")
@pytest.mark.parametrize("blend", ["repeat", pytest.param("new", marks=pytest.mark.nightly)])
def test_sold_out_item_is_replaced_from_the_drawn_arm(desk, blend):
    """A list of repeats was filled with new items under the drawn arm's name."""
    arm = func.json_set(Assignment.offer, "$.arm", f"{blend}|All")
    desk.execute(update(Assignment).where(Assignment.arm == "treatment").values(offer=arm))
    before = desk.items_offered()
    removed = _sold_out_before_it_is_sent(desk, 10)
    events = desk.table("events")
    had = events[events.event_type == "purchase"].groupby("customer_id")["item_id"].agg(set)
    filled = [
        (user, item)
        for user, items in desk.items_offered().items()
        for item in items
        if item not in before[user]
        and had[user] - removed  # of who had nothing else the list is what is popular
    ]
    assert filled
    assert {item in had[user] for user, item in filled} == {blend == "repeat"}


def test_sold_out_items_are_in_no_email(desk):
    with desk.settings.policy.open("a") as policy:
        # Who is drawn what they bought before may have no more of it
        policy.write("[recommend]\nexperiment = 0\n")
    desk.approved()
    before = desk.items_offered()
    popular = _sold_out_before_it_is_sent(desk, 3)
    after = desk.items_offered()
    assert not popular & {item for items in after.values() for item in items}
    for user, items in before.items():
        left = [item for item in items if item not in popular]
        assert after[user][: len(left)] == left
        assert len(after[user]) == len(items)
    assert not popular & set(desk.scalars(select(Impression.item_id)))


def _withdraw(desk, customer: str, consent: bool | None = False) -> None:
    people = desk.table("customers")
    theirs = people[people.customer_id == customer]
    desk.lake.upsert("customers", theirs.assign(marketing_consent=consent))


@pytest.mark.campaign("live")
def test_unsubscribed_customers_are_in_no_file(desk):
    sends = dict(desk.rows(select(Send.customer_id, Send.id)))
    refused, left, *_ = sorted(sends)
    _withdraw(desk, refused)
    assert desk.customers_of_file() == sends.keys() - {refused}
    desk.change(consent.unsubscribe, sends[left], clock.now())
    assert desk.customers_of_file() == sends.keys() - {refused, left}
    states = dict(desk.rows(select(Send.customer_id, Send.state)))
    assert states.pop(refused) == "cancelled"
    assert set(states.values()) == {"sent"}


ANY = 'tiers = ["high", "medium", "low"]'
UNASKED = f'[[rules]]\nname = "Unasked"\n{ANY}\nconsent = ["unknown"]\naction = "reminder"\n'
ASKED = '[[rules]]\nname = "Asked"\ntiers = ["low"]\naction = "reminder"\n'
ELSE = '[[rules]]\nname = "Else"\ninstead_of = [{}]\naction = "new_arrivals"\n'


def _live(desk, rules: str) -> list[str]:
    """The treated customers of a live campaign under these rules."""
    desk.settings.policy.write_text(f'[campaign]\nquiet_hours = ""\n{rules}')
    desk.live()
    return desk.arms()["treatment"]


def _live_unasked(desk) -> list[str]:
    """The same, where nobody was asked for consent."""
    desk.lake.upsert("customers", desk.table("customers").assign(marketing_consent=None))
    return _live(desk, UNASKED)


def _offer_instead(desk) -> None:
    """The customers were offered what is under another rule."""
    offer = func.json_set(Assignment.offer, "$.rule", "Else")
    desk.execute(update(Assignment).values(offer=offer))


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("since", ["nothing", "an offer instead", "another name of the rule"])
def test_unknown_consent_follows_the_rule(desk, since):
    """All of them were approved, and then left out as if they had withdrawn a consent."""
    treated, policy = _live_unasked(desk), desk.settings.policy
    if since == "an offer instead":
        policy.write_text(policy.read_text() + ELSE.format('"Unasked"'))
        _offer_instead(desk)
    elif since == "another name of the rule":
        policy.write_text(policy.read_text().replace("Unasked", "Said nothing yet"))
    _withdraw(desk, treated[0])
    assert desk.customers_of_file() == {*treated[1:]}
    if since != "another name of the rule":  # which is not found any more
        policy.write_text(policy.read_text().replace('consent = ["unknown"]\n', ""))  # strict now
        assert "nobody to write to" in desk.download().error


@pytest.mark.nightly
def test_consent_of_the_original_rule_applies(desk):
    """An offer with two ``instead_of`` rules used the laxer consent of both."""
    rules = ASKED + UNASKED.replace(ANY, 'tiers = ["low"]') + ELSE.format('"Asked", "Unasked"')
    treated = _live(desk, rules)
    _offer_instead(desk)
    _withdraw(desk, treated[0], None)
    assert desk.customers_of_file() == {*treated[1:]}


@pytest.mark.campaign("live")
def test_invalidated_codes_are_not_handed_out(desk, monkeypatch):
    from workers.tasks.campaigns import campaign_csv

    original_run = campaign_csv.run

    def stopped_meanwhile(request, context):
        outcome = original_run(request, context)
        desk.stop("wrong discount")
        return outcome

    monkeypatch.setattr(campaign_csv, "run", stopped_meanwhile)
    assert "is cancelled" in desk.download().error
    assert not desk.scalars(select(Outbox).where(Outbox.kind == "file"))
    assert not desk.scalars(select(Audit).where(Audit.action == "campaign.csv"))


@pytest.mark.campaign("approved")
def test_code_is_valid_until_the_end_of_its_last_day(desk):
    """They read "until 8 May", and from the hour of sending on the till refused it on that day."""
    desk = desk.with_settings(timezone="America/New_York")
    desk.send_now()
    settings, campaign = desk.settings, desk.campaign()
    row = next(row for row in desk.read(launch.recipient_rows, campaign) if row["code"])
    last = (campaign.sent_at.astimezone(settings.zone) + timedelta(days=28)).date()
    shown = email_content.placeholder_values(settings, "Ann", row)
    assert shown["expires"] == f"{last:%d %b %Y}".lstrip("0")
    send = Send(id=1, campaign_id=campaign.id, customer_id="k")
    to = Contact("ann@example.com")
    message = customer_message.compose_message(
        settings, desk.body(), send, to, row, "https://x.example/u"
    )
    # To a platform, too, it is that day
    assert message.offer["expires_at"].startswith(f"{last}T23:59:59-0")
    midnight = datetime.combine(last + timedelta(days=1), time(), settings.zone)
    late, in_time = (
        CodeUse(row["code"], midnight - before, "http", key=str(before))
        for before in (timedelta(), timedelta(minutes=1))
    )
    assert desk.change(redeem, [late, in_time]) == ["expired", "redeemed"]


CALLS = f'[[rules]]\nname = "Call"\n{ANY}\nvalues = ["high"]\naction = "call"\n'


@pytest.fixture
def to_call(desk) -> set[str]:
    """The customers on the call list of a live campaign."""
    desk.settings.policy.write_text(desk.settings.policy.read_text() + CALLS)
    desk.lake.upsert("customers", desk.table("customers").assign(phone="+44 20 7946 0000"))
    desk.live()
    offers = desk.offers()
    return {user for user in desk.arms()["treatment"] if offers[user]["action"] == "call"}


def test_call_list_customers_get_no_code(desk, to_call):
    assert to_call
    assert action_ids.CALL_LIST in desk.card()
    codes, listed = desk.file(), desk.file("calls")
    assert {row["customer_id"] for row in listed} == to_call
    assert not to_call & {row["customer_id"] for row in codes}
    assert {row["phone"].lstrip("'") for row in listed} == {"+44 20 7946 0000"}
    values = [float(row["expected_value"]) for row in listed]
    assert values == sorted(values, reverse=True)
    assert all(row["name"] in row["talk"] for row in listed)
    assert re.search("rows? of the call list", desk.messages())
    assert not set(desk.scalars(select(Coupon.customer_id))) & to_call
    sends = desk.rows(select(Send.customer_id, Send.channel, Send.state))
    assert {user for user, channel, _ in sends if channel == "call"} == to_call
    assert {state for _, _, state in sends} == {"sent"}
    _record_one_outcome(desk, to_call)
    request = CallWindow(campaign_id=desk.campaign_id, customer_id=min(to_call), view_id="V1")
    window = desk.messages(f"view:{desk.done(request, channel=None).id}")
    assert "What to say:" in window
    assert "looking up" not in window


def _record_one_outcome(desk, to_call) -> None:
    """The list's message shows each call; an outcome updates it and is counted."""
    key, campaign_id = f"calls:{desk.campaign_id}:{LEAD}", desk.campaign_id
    shown = desk.messages(key)
    assert f"{len(to_call)} call" in shown
    assert "nobody yet" not in shown  # the approver calls, because nobody else was chosen
    assert action_ids.OPEN_CALL in shown
    assert desk.read(calls.unowned_by_campaign) == []
    assert len(desk.read(calls.open_entries, LEAD)) == len(to_call)
    assert {entry.customer_id for entry in desk.read(calls.entries, campaign_id)} == to_call
    plan = calls.Plan(ANALYST, clock.now().date(), "no_answer")
    desk.change(calls.save_entry, campaign_id, min(to_call), ANALYST, clock.now(), plan)
    desk.change(call_messages.refresh, campaign_id)
    assert "1 no answer" in desk.messages(key)
    # And keeps what was recorded
    desk.file("calls")
    counts = desk.read(calls.count_outcomes, campaign_id)
    made = {"calls": len(to_call), "made": 1, "reached": 0, "no_answer": 1}
    assert made.items() <= counts.items()


def _power_cut(desk, monkeypatch) -> None:
    """The first sending breaks off just before the campaign is live."""
    with monkeypatch.context() as broken:
        broken.setattr(launch, "go_live", lambda *_: 1 / 0)
        assert desk.run(desk.sending()).state == "failed"


@pytest.mark.campaign("approved")
def test_sending_twice_or_after_a_crash_issues_each_code_once(desk, monkeypatch):
    desk.wait(hours=5)
    _power_cut(desk, monkeypatch)
    assert desk.campaign().state == "sending"
    reserved = dict(desk.rows(select(Coupon.code, Coupon.state)))
    assert set(reserved.values()) == {"reserved"}
    desk.done(desk.sending())
    issued = dict(desk.rows(select(Coupon.code, Coupon.state)))
    assert issued == dict.fromkeys(reserved, "issued")
    assert "already live" in desk.run(desk.sending()).error


@pytest.mark.campaign("approved")
def test_campaign_is_not_sent_early_or_after_a_stop(desk):
    assert "clearance" in desk.run(desk.sending()).error
    desk.stop("the shop is closed")
    desk.wait(hours=5)
    assert "stopped" in desk.run(desk.sending()).error
    assert desk.scalar(select(func.count()).select_from(Coupon)) == 0


@pytest.mark.campaign("live")
def test_file_has_discount_and_minimum_order(desk):
    """Whoever put the codes of money off into a shop found a discount of nought."""
    user, other = desk.scalars(select(Coupon.customer_id).order_by(Coupon.customer_id))[:2]
    offer = desk.offers()[user] | {"discount": 0.0, "amount": 5.0, "min_order": 40.0}
    desk.execute(update(Assignment).where(Assignment.customer_id == user).values(offer=offer))
    rows = {row["customer_id"]: row for row in desk.file()}
    shown = [rows[user][name] for name in ("action", "discount", "amount", "min_order")]
    assert shown == ["coupon", "0.0", "5.0", "40.0"]
    assert float(rows[other]["discount"]) > 0
    assert (rows[other]["amount"], rows[other]["min_order"]) == ("0.0", "0.0")


@pytest.mark.campaign("approved")
def test_recent_buyers_are_excluded_from_both_groups(desk):
    """They had come back by themselves, and were sent a coupon all the same."""
    before, drafted_at = desk.arms(), clock.now()
    back = {*before["treatment"][:4], *before["control"][:2]}
    desk.bring("purchase", drafted_at + timedelta(hours=1), sorted(back))
    desk.bring("view", drafted_at + timedelta(hours=2), before["treatment"][4:6])
    # An answer to it, perhaps
    desk.bring("purchase", drafted_at + timedelta(hours=5), before["treatment"][6:7])
    desk.send_now()
    after = desk.arms()
    assert set(after["excluded"]) == back
    both = {*after["treatment"], *after["control"]}
    assert both == {*before["treatment"], *before["control"]} - back
    assert set(desk.table("treatments").customer_id) == both
    assert set(desk.scalars(select(Coupon.customer_id))) == set(after["treatment"])
    columns = (Assignment.tier, Assignment.arm, Assignment.propensity)
    rows = desk.rows(select(*columns))
    assert {chance for _, arm, chance in rows if arm == "excluded"} == {None}
    for tier in {tier for tier, _, _ in rows}:
        inside = [row for row in rows if row.tier == tier and row.arm != "excluded"]
        share = sum(row.arm == "treatment" for row in inside) / len(inside)
        assert [row.propensity for row in inside] == pytest.approx([share] * len(inside))
    shown = desk.thread("returned")
    assert "Excluded from both groups: 6 customers who ordered again" in shown


@pytest.mark.campaign("approved")
def test_programme_holdout_set_after_the_draft_is_excluded(desk):
    before = desk.arms()
    holdout = desk.change(programme_holdout.set_share, 0.3, "U0ADMIN")
    desk.send_now()
    held_out = holdout.members([*before["treatment"], *before["control"]])
    assert held_out
    assert set(desk.arms()["excluded"]) == held_out
    assert "programme hold-out" in desk.thread("programme")


@pytest.mark.campaign("approved")
@pytest.mark.parametrize("broken_off", [False, True])
def test_customers_erased_before_sending_are_excluded(desk, monkeypatch, broken_off):
    """A code went to an erased customer, or a void code blocked the sending."""
    groups = desk.arms()
    removed = [groups["treatment"].pop(0), groups["control"].pop(0)]
    desk.wait(hours=5)
    if broken_off:
        _power_cut(desk, monkeypatch)
    desk.change(erasure.erase_from_sql, removed)
    erasure.erase_from_lake(desk.lake, removed)
    desk.done(desk.sending())
    assert desk.campaign().state == "live"
    assert desk.arms() == groups
    both = {*groups["treatment"], *groups["control"]}
    assert set(desk.table("treatments").customer_id) == both
    for column in (Send.customer_id, Coupon.customer_id):
        assert set(desk.scalars(select(column))) == set(groups["treatment"])


@pytest.mark.campaign("approved")
def test_merged_customer_gets_one_email_and_none_after_an_order_of_either_id(desk):
    """They got two, and two codes; or one although they were held out."""
    before = desk.arms()
    treated, held_out = before["treatment"], before["control"]
    pairs = [treated[:2], [treated[2], held_out[0]], held_out[1:3]]
    buyer = treated[3:5]
    merged(desk.lake, *pairs, buyer)
    desk.bring("purchase", clock.now() + timedelta(hours=1), buyer[:1])
    desk.send_now()
    after, people = desk.arms(), desk.lake.identities.canonical_ids()
    doubles = {item for pair in pairs for item in pair if item in people}
    assert set(after["excluded"]) == doubles | {*buyer}
    assert len(doubles) == len(pairs)
    assert set(desk.scalars(select(Coupon.customer_id))) == set(after["treatment"])
    assert "Excluded: 3 duplicate ids of merged customers" in desk.thread("doubles")
    assert "2 customers who ordered again" in desk.thread("returned")  # without the doubles


@pytest.mark.campaign("approved")
def test_order_during_a_failed_run_keeps_the_group(desk, monkeypatch):
    drafted_at, first = clock.now(), desk.arms()["treatment"][:3]
    desk.bring("purchase", drafted_at + timedelta(hours=1), first[:1])
    desk.wait(hours=5)
    _power_cut(desk, monkeypatch)
    desk.bring("purchase", drafted_at + timedelta(hours=2), first[1:2])  # imported too late
    desk.wait(hours=2)
    desk.done(desk.sending())
    assert desk.arms()["excluded"] == first[:1]
    assert "Excluded from both groups: 1 customer" in desk.thread("returned")


@pytest.mark.campaign("approved")
@pytest.mark.parametrize(
    ("held_out", "says"), [(0, "are all in other campaigns, or have"), (2, r"\(2\) would all be")]
)
def test_campaign_without_recipients_is_not_sent(desk, held_out, says):
    arms = desk.arms()
    buyers = arms["treatment"] + arms["control"][held_out:]
    desk.bring("purchase", clock.now() + timedelta(hours=1), buyers)
    desk.wait(hours=5)
    error = desk.run(desk.sending()).error
    assert re.search(f"would go to nobody: .*{says}", error)
    assert re.search("have (not )?ordered again", error)
    assert (desk.campaign().state, desk.arms()) == ("approved", arms)
    assert desk.table("treatments").empty
