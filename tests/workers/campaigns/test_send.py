"""Test recipients, items and codes of a sending."""

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, time, timedelta

import pytest
from sqlalchemy import func, select, update

from retention import clock, erasure
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.campaigns.lifecycle import launch
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.message import compose, email_content
from retention.campaigns.planning import programme_holdout
from retention.db.tables import Assignment, Audit, Coupon, File, Impression, Outbox, Send
from retention.outreach import calls, consent
from retention.outreach.adapter import Contact
from tests import world
from tests.shop import merged
from tests.workers.campaigns.steps import (
    AFTER_CLEARANCE,
    ANALYST,
    CHANNEL,
    LEAD,
    approved,
    bring,
    campaign_of,
    done,
    items_offered,
    live,
    messages,
    prepared_campaign,
    rows_of_file,
    run,
    send_now,
)
from tests.world import change, one, read, scalar, scalars
from workers import ids
from workers.campaigns import call_lists, decisions
from workers.campaigns.requests import CampaignCsv, CampaignSend
from workers.queue import jobs
from workers.requests import CallWindow
from workers.tasks.runner import run_job


def _sold_out_before_it_is_sent(desk, campaign_id, many) -> set[str]:
    """So many of the items that are offered most."""
    offered = Counter(item for items in items_offered(desk, campaign_id).values() for item in items)
    popular = {item for item, _ in offered.most_common(many)}
    items = desk.lake.table("items").execute()
    desk.lake.upsert("items", items.assign(in_stock=~items["item_id"].isin(popular)))
    send_now(desk, campaign_id)
    return popular


@pytest.mark.campaign("approved")
@pytest.mark.parametrize("blend", ["repeat", pytest.param("new", marks=pytest.mark.nightly)])
def test_sold_out_item_is_replaced_from_the_drawn_arm(desk, blend):
    """A list of repeats was filled with new items under the drawn arm's name."""
    campaign_id = prepared_campaign(desk)
    with desk.database.transaction() as session:
        for element in session.scalars(select(Assignment).where(Assignment.arm == "treatment")):
            element.offer = {**element.offer, "arm": f"{blend}|All"}
    before = items_offered(desk, campaign_id)
    removed = _sold_out_before_it_is_sent(desk, campaign_id, 10)
    events = desk.lake.table("events").execute()
    had = events[events.event_type == "purchase"].groupby("customer_id")["item_id"].agg(set)
    filled = [
        (user, item)
        for user, items in items_offered(desk, campaign_id).items()
        for item in items
        if item not in before[user]
        and had[user] - removed  # of who had nothing else the list is what is popular
    ]
    assert filled
    assert {item in had[user] for user, item in filled} == {blend == "repeat"}


def test_sold_out_items_are_in_no_email(desk):
    with (desk.settings.home / "policy.toml").open("a") as policy:
        # Who is drawn what they bought before may have no more of it
        policy.write("[recommend]\nexperiment = 0\n")
    campaign_id = approved(desk)
    before = items_offered(desk, campaign_id)
    popular = _sold_out_before_it_is_sent(desk, campaign_id, 3)
    after = items_offered(desk, campaign_id)
    assert not popular & {item for items in after.values() for item in items}
    assert {user: len(items) for user, items in after.items()} == {
        user: len(items) for user, items in before.items()
    }
    for user, items in before.items():
        assert [item for item in items if item not in popular] == after[user][
            : len(set(items) - popular)
        ]
    assert not popular & set(scalars(desk.database, select(Impression.item_id)))


@pytest.mark.campaign("live")
def test_unsubscribed_customers_are_in_no_file(desk):
    campaign_id = prepared_campaign(desk)
    sends = dict(world.rows(desk.database, select(Send.customer_id, Send.id)))
    refused, left, *_ = sorted(sends)
    people = desk.lake.table("customers").execute()
    people.loc[people.customer_id == refused, "marketing_consent"] = False
    desk.lake.upsert("customers", people)
    assert rows_of_file(desk, campaign_id) == sends.keys() - {refused}
    change(desk.database, consent.unsubscribe, sends[left], clock.now())
    assert rows_of_file(desk, campaign_id) == sends.keys() - {refused, left}
    states = dict(world.rows(desk.database, select(Send.customer_id, Send.state)))
    assert states.pop(refused) == "cancelled"
    assert set(states.values()) == {"sent"}


def _unasked(desk):
    """Return a policy file with one rule for customers of unknown consent, and these customers."""
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        '[campaign]\nquiet_hours = ""\n'
        '[[rules]]\nname = "Unasked"\ntiers = ["high", "medium", "low"]\n'
        'consent = ["unknown"]\naction = "reminder"\n'
    )
    people = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", people.assign(marketing_consent=None))
    return policy, people


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("instead", [False, True])
def test_unknown_consent_follows_the_rule(desk, instead):
    """All of them were approved, and then left out as if they had withdrawn a consent."""
    policy, people = _unasked(desk)
    campaign_id = live(desk)
    with desk.database.transaction() as session:
        treated = sorted(session.scalars(select(Send.customer_id)))
        if instead:
            policy.write_text(
                policy.read_text()
                + '[[rules]]\nname = "Else"\ninstead_of = ["Unasked"]\naction = "new_arrivals"\n'
            )
            offer = func.json_set(Assignment.offer, "$.rule", "Else")
            session.execute(update(Assignment).values(offer=offer))
    refused = people.customer_id == treated[0]
    desk.lake.upsert("customers", people[refused].assign(marketing_consent=False))
    assert rows_of_file(desk, campaign_id) == {*treated[1:]}
    # Strict from now on
    policy.write_text(policy.read_text().replace('consent = ["unknown"]\n', ""))
    job = run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD, key="strict")
    assert "nobody to write to" in job.error


def test_renamed_rule_excludes_no_customer(desk):
    """The renamed rule was not found, and its customers counted as unsubscribed."""
    policy, people = _unasked(desk)
    campaign_id = live(desk)
    treated = sorted(scalars(desk.database, select(Send.customer_id)))
    policy.write_text(policy.read_text().replace("Unasked", "Said nothing yet"))
    desk.lake.upsert(
        "customers", people[people.customer_id == treated[0]].assign(marketing_consent=False)
    )
    assert rows_of_file(desk, campaign_id) == {*treated[1:]}


@pytest.mark.nightly
def test_consent_of_the_original_rule_applies(desk):
    """An offer with two ``instead_of`` rules used the laxer consent of both."""
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        '[campaign]\nquiet_hours = ""\n'
        '[[rules]]\nname = "Asked"\ntiers = ["low"]\naction = "reminder"\n'
        '[[rules]]\nname = "Unasked"\ntiers = ["low"]\nconsent = ["unknown"]\naction = "reminder"\n'
        '[[rules]]\nname = "Else"\ninstead_of = ["Asked", "Unasked"]\naction = "new_arrivals"\n'
    )
    campaign_id = live(desk)
    with desk.database.transaction() as session:
        treated = sorted(session.scalars(select(Send.customer_id)))
        session.execute(
            update(Assignment).values(offer=func.json_set(Assignment.offer, "$.rule", "Else"))
        )
    people = desk.lake.table("customers").execute()
    desk.lake.upsert(
        "customers", people[people.customer_id == treated[0]].assign(marketing_consent=None)
    )
    assert rows_of_file(desk, campaign_id) == {*treated[1:]}


def test_invalidated_codes_are_not_handed_out(desk, monkeypatch):
    from workers.tasks.campaigns import campaign_csv

    campaign_id, original_run = live(desk), campaign_csv.run

    def stopped_meanwhile(request, context):
        outcome = original_run(request, context)
        change(desk.database, decisions.stop, Step(campaign_id, LEAD), "wrong discount")
        return outcome

    monkeypatch.setattr(campaign_csv, "run", stopped_meanwhile)
    job = run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert "is cancelled" in job.error
    with desk.database.reading() as session:
        assert not session.scalars(select(Outbox).where(Outbox.kind == "file")).all()
        assert not session.scalars(select(Audit).where(Audit.action == "campaign.csv")).all()


@pytest.mark.campaign("approved")
def test_late_codes_keep_their_validity(desk):
    campaign_id = prepared_campaign(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    requested = change(
        desk.database,
        jobs.submit,
        CampaignSend(campaign_id=campaign_id, version=1),
        requested_by=LEAD,
        channel=CHANNEL,
        idem_key="late",
    ).job
    clock.configure(fixed=clock.now() + timedelta(hours=30))  # no worker was there
    run_job(desk.database, requested.id, "test")
    assert campaign_of(desk, campaign_id).sent_at == clock.now()


def test_code_is_valid_until_the_end_of_its_last_day(desk):
    """They read "until 8 May", and from the hour of sending on the till refused it on that day."""
    settings = desk.settings.model_copy(update={"timezone": "America/New_York"})
    desk = replace(desk, settings=settings)
    campaign_id = live(desk)
    row = next(
        row
        for row in read(desk.database, launch.recipient_rows, campaign_of(desk, campaign_id))
        if row["code"]
    )
    last = (
        campaign_of(desk, campaign_id).sent_at.astimezone(settings.zone) + timedelta(days=28)
    ).date()
    assert email_content.placeholder_values(settings, "Ann", row)[
        "expires"
    ] == f"{last:%d %b %Y}".lstrip("0")
    shown = compose.compose_message(
        settings,
        Body.model_validate(campaign_of(desk, campaign_id).body),
        Send(id=1, campaign_id=campaign_id, customer_id="k"),
        Contact("ann@example.com"),
        row,
        "https://x.example/u",
    )
    # To a platform, too, it is that day
    assert shown.offer["expires_at"].startswith(f"{last}T23:59:59-0")
    midnight = datetime.combine(last + timedelta(days=1), time(), settings.zone)
    with desk.database.transaction() as session:
        late, in_time = (
            CodeUse(row["code"], midnight - before, "http", key=str(before))
            for before in (timedelta(), timedelta(minutes=1))
        )
        assert redeem(session, [late, in_time]) == ["expired", "redeemed"]


def test_call_list_customers_get_no_code(desk):
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        policy.read_text()
        + '[[rules]]\nname = "Call"\ntiers = ["high", "medium", "low"]\nvalues = ["high"]\n'
        'action = "call"\n'
    )
    customers = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", customers.assign(phone="+44 20 7946 0000"))
    campaign_id = live(desk)
    assert ids.CALL_LIST in messages(desk, campaign_of(desk, campaign_id).post_key)
    rows = world.rows(
        desk.database, select(Assignment.customer_id, Assignment.offer, Assignment.arm)
    )
    to_call = {
        user for user, offer, arm in rows if offer["action"] == "call" and arm == "treatment"
    }
    assert to_call
    files = {}
    for part in ("codes", "calls"):
        done(desk, CampaignCsv(campaign_id=campaign_id, part=part), LEAD, channel=LEAD)
        with desk.database.reading() as session:
            name = f"{campaign_id}-{part}.csv"
            content = session.scalars(select(File.content).where(File.name == name)).one()
        files[part] = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert {row["customer_id"] for row in files["calls"]} == to_call
    assert not to_call & {row["customer_id"] for row in files["codes"]}
    assert {row["phone"].lstrip("'") for row in files["calls"]} == {"+44 20 7946 0000"}
    values = [float(row["expected_value"]) for row in files["calls"]]
    assert values == sorted(values, reverse=True)
    assert all(row["name"] in row["talk"] for row in files["calls"])
    assert "rows of the call list" in messages(desk) or "row of the call list" in messages(desk)
    with desk.database.reading() as session:
        assert not set(session.scalars(select(Coupon.customer_id))) & to_call
        sends = session.execute(select(Send.customer_id, Send.channel, Send.state)).all()
    assert {user for user, channel, _ in sends if channel == "call"} == to_call
    assert {state for _, _, state in sends} == {"sent"}
    _record_one_outcome(desk, campaign_id, to_call)
    request = CallWindow(campaign_id=campaign_id, customer_id=min(to_call), view_id="V1")
    window = done(desk, request, LEAD, channel=None, key="window")
    shown = messages(desk, f"view:{window.id}")
    assert "What to say:" in shown
    assert "looking up" not in shown


def _record_one_outcome(desk, campaign_id, to_call) -> None:
    """The list's message shows each call; an outcome updates it and is counted."""
    key = f"calls:{campaign_id}:{LEAD}"
    shown = messages(desk, key)
    assert f"{len(to_call)} call" in shown
    assert "nobody yet" not in shown  # the approver calls, because nobody else was chosen
    assert ids.OPEN_CALL in shown
    someone = min(to_call)
    with desk.database.reading() as session:
        assert calls.unowned_by_campaign(session) == []
        assert len(calls.open_entries(session, LEAD)) == len(to_call)
    with desk.database.transaction() as session:
        assert {entry.customer_id for entry in calls.entries(session, campaign_id)} == (to_call)
        plan = calls.Plan(ANALYST, clock.now().date(), "no_answer")
        calls.save_entry(session, campaign_id, someone, ANALYST, clock.now(), plan)
        call_lists.refresh(session, campaign_id)
    assert "1 no answer" in messages(desk, key)
    # And keeps what was recorded
    done(desk, CampaignCsv(campaign_id=campaign_id, part="calls"), LEAD, channel=LEAD, key="again")
    counts = read(desk.database, calls.count_outcomes, campaign_id)
    assert (counts["calls"], counts["made"], counts["reached"]) == (len(to_call), 1, 0)
    assert counts["no_answer"] == 1


@pytest.mark.campaign("approved")
def test_sending_twice_or_after_a_crash_issues_each_code_once(desk, monkeypatch):

    campaign_id = prepared_campaign(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    finish = launch.go_live

    def crash(*_args):
        raise RuntimeError("power cut")

    monkeypatch.setattr(launch, "go_live", crash)
    request = CampaignSend(campaign_id=campaign_id, version=1)
    assert run(desk, request, LEAD, key="send").state == "failed"
    assert campaign_of(desk, campaign_id).state == "sending"
    reserved = set(world.rows(desk.database, select(Coupon.code, Coupon.state)))
    assert {state for _, state in reserved} == {"reserved"}
    monkeypatch.setattr(launch, "go_live", finish)
    assert run(desk, request, LEAD, key="again").error is None
    issued = set(world.rows(desk.database, select(Coupon.code, Coupon.state)))
    assert {code for code, _ in issued} == {code for code, _ in reserved}
    assert {state for _, state in issued} == {"issued"}
    assert "already live" in run(desk, request, LEAD, key="third").error


@pytest.mark.campaign("approved")
def test_campaign_is_not_sent_early_or_after_a_stop(desk):
    campaign_id = prepared_campaign(desk)
    request = CampaignSend(campaign_id=campaign_id, version=1)
    assert "clearance" in run(desk, request, LEAD, key="soon").error
    change(desk.database, decisions.stop, Step(campaign_id, LEAD), "the shop is closed")
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    assert "stopped" in run(desk, request, LEAD, key="late").error
    assert scalar(desk.database, select(func.count()).select_from(Coupon)) == 0


@pytest.mark.campaign("live")
def test_file_has_discount_and_minimum_order(desk):
    """Whoever put the codes of money off into a shop found a discount of nought."""
    campaign_id = prepared_campaign(desk)
    with desk.database.transaction() as session:
        user, row = session.execute(
            select(Coupon.customer_id, Assignment)
            .join(Assignment, Assignment.customer_id == Coupon.customer_id)
            .where(Assignment.campaign_id == campaign_id)
            .order_by(Coupon.customer_id)
        ).first()
        row.offer = {**row.offer, "discount": 0.0, "amount": 5.0, "min_order": 40.0}
    assert run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD).error is None
    content = one(desk.database, select(File.content).where(File.mime == "text/csv"))
    rows = {
        row["customer_id"]: row for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    }
    shown = [rows[user][name] for name in ("action", "discount", "amount", "min_order")]
    assert shown == ["coupon", "0.0", "5.0", "40.0"]
    other = next(row for customer_id, row in rows.items() if customer_id != user and row["code"])
    assert (float(other["discount"]) > 0, other["amount"], other["min_order"]) == (
        True,
        "0.0",
        "0.0",
    )


def _arms(desk, campaign_id) -> dict[str, list[str]]:
    """Arm → its customers."""
    result: dict[str, list[str]] = {"treatment": [], "control": [], "excluded": []}
    with desk.database.reading() as session:
        rows = session.scalars(
            select(Assignment)
            .where(Assignment.campaign_id == campaign_id)
            .order_by(Assignment.customer_id)
        )
        for row in rows:
            result[row.arm].append(row.customer_id)
    return result


@pytest.mark.campaign("approved")
def test_recent_buyers_are_excluded_from_both_groups(desk):
    """They had come back by themselves, and were sent a coupon all the same."""
    campaign_id = prepared_campaign(desk)
    before, drafted_at = _arms(desk, campaign_id), clock.now()
    sent_at = drafted_at + timedelta(hours=5)
    back = {*before["treatment"][:4], *before["control"][:2]}
    bring(desk, "purchase", drafted_at + timedelta(hours=1), sorted(back))
    bring(desk, "view", drafted_at + timedelta(hours=2), before["treatment"][4:6])
    bring(desk, "purchase", sent_at, before["treatment"][6:7])  # an answer to it, perhaps
    clock.configure(fixed=sent_at)
    assert run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).error is None
    after = _arms(desk, campaign_id)
    assert set(after["excluded"]) == back
    assert {*after["treatment"], *after["control"]} == {
        *before["treatment"],
        *before["control"],
    } - back
    treatments = desk.lake.table("treatments").execute()
    assert set(treatments.customer_id) == {*after["treatment"], *after["control"]}
    with desk.database.reading() as session:
        assert set(session.scalars(select(Coupon.customer_id))) == set(after["treatment"])
        mine = Assignment.campaign_id == campaign_id
        of = session.execute(
            select(Assignment.tier, Assignment.arm, Assignment.propensity).where(mine)
        ).all()
    assert {chance for _, arm, chance in of if arm == "excluded"} == {None}
    for tier in {tier for tier, _, _ in of}:
        inside = [
            (arm, chance) for theirs, arm, chance in of if theirs == tier and arm != "excluded"
        ]
        share = sum(arm == "treatment" for arm, _ in inside) / len(inside)
        assert [chance for _, chance in inside] == pytest.approx([share] * len(inside))
    shown = messages(desk, f"campaign:{campaign_id}:returned:1")
    assert "Excluded from both groups: 6 customers who ordered again" in shown


@pytest.mark.campaign("approved")
def test_programme_holdout_set_after_the_draft_is_excluded(desk):
    campaign_id = prepared_campaign(desk)
    before = _arms(desk, campaign_id)
    holdout = change(desk.database, programme_holdout.set_share, 0.3, "U0ADMIN")
    clock.configure(fixed=desk.end + AFTER_CLEARANCE)
    done(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD)
    after = _arms(desk, campaign_id)
    held_out = holdout.members([*before["treatment"], *before["control"]])
    assert held_out
    assert set(after["excluded"]) == held_out
    shown = messages(desk, f"campaign:{campaign_id}:programme:1")
    assert "programme hold-out" in shown


@pytest.mark.campaign("approved")
@pytest.mark.parametrize("broken_off", [False, True])
def test_customers_erased_before_sending_are_excluded(desk, monkeypatch, broken_off):
    """A code went to an erased customer, or a void code blocked the sending."""
    campaign_id = prepared_campaign(desk)
    before = _arms(desk, campaign_id)
    removed = [before["treatment"][0], before["control"][0]]
    request = CampaignSend(campaign_id=campaign_id, version=1)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    if broken_off:
        with monkeypatch.context() as broken:
            broken.setattr(launch, "go_live", lambda *_: 1 / 0)
            assert run(desk, request, LEAD, key="send").state == "failed"
    change(desk.database, erasure.erase_from_sql, removed)
    erasure.erase_from_lake(desk.lake, removed)
    assert run(desk, request, LEAD, key="again").error is None
    assert campaign_of(desk, campaign_id).state == "live"
    left = {arm: [user for user in whose if user not in removed] for arm, whose in before.items()}
    assert _arms(desk, campaign_id) == left
    assert set(desk.lake.table("treatments").execute().customer_id) == {
        *left["treatment"],
        *left["control"],
    }
    with desk.database.reading() as session:
        assert set(session.scalars(select(Send.customer_id))) == set(left["treatment"])
        assert set(session.scalars(select(Coupon.customer_id))) == set(left["treatment"])


@pytest.mark.campaign("approved")
def test_merged_customer_gets_one_email(desk):
    """They got two, and two codes; or one although they were held out."""
    campaign_id = prepared_campaign(desk)
    before = _arms(desk, campaign_id)
    pairs = [
        before["treatment"][:2],
        [before["treatment"][2], before["control"][0]],
        before["control"][1:3],
    ]
    merged(desk.lake, *pairs)
    send_now(desk, campaign_id)
    after = _arms(desk, campaign_id)
    people = desk.lake.identities.canonical_ids()
    assert set(after["excluded"]) == {item for pair in pairs for item in pair if item in people}
    assert len(after["excluded"]) == len(pairs)
    assert set(scalars(desk.database, select(Coupon.customer_id))) == set(after["treatment"])
    shown = messages(desk, f"campaign:{campaign_id}:doubles:1")
    assert "Excluded: 3 duplicate ids of merged customers" in shown
    assert not messages(desk, f"campaign:{campaign_id}:returned:1")


@pytest.mark.campaign("approved")
def test_order_under_a_merged_id_excludes_the_customer(desk):
    campaign_id = prepared_campaign(desk)
    left, right = _arms(desk, campaign_id)["treatment"][:2]
    merged(desk.lake, (left, right))
    bring(desk, "purchase", clock.now() + timedelta(hours=1), [left])
    send_now(desk, campaign_id)
    assert _arms(desk, campaign_id)["excluded"] == [left, right]


@pytest.mark.campaign("approved")
def test_order_during_a_failed_run_keeps_the_group(desk, monkeypatch):
    campaign_id = prepared_campaign(desk)
    drafted_at, first = clock.now(), _arms(desk, campaign_id)["treatment"][:3]
    bring(desk, "purchase", drafted_at + timedelta(hours=1), first[:1])
    clock.configure(fixed=drafted_at + timedelta(hours=5))
    request = CampaignSend(campaign_id=campaign_id, version=1)
    with monkeypatch.context() as broken:
        broken.setattr(launch, "go_live", lambda *_: 1 / 0)
        assert run(desk, request, LEAD, key="send").state == "failed"
    bring(desk, "purchase", drafted_at + timedelta(hours=2), first[1:2])  # imported too late
    clock.configure(fixed=drafted_at + timedelta(hours=7))
    assert run(desk, request, LEAD, key="again").error is None
    assert _arms(desk, campaign_id)["excluded"] == first[:1]
    text = messages(desk, f"campaign:{campaign_id}:returned:1")
    assert "Excluded from both groups: 1 customer" in text


@pytest.mark.campaign("approved")
@pytest.mark.parametrize(
    ("held_out", "says"), [(0, "are all in other campaigns, or have"), (2, r"\(2\) would all be")]
)
def test_campaign_without_recipients_is_not_sent(desk, held_out, says):
    campaign_id = prepared_campaign(desk)
    arms = _arms(desk, campaign_id)
    bring(
        desk,
        "purchase",
        clock.now() + timedelta(hours=1),
        arms["treatment"] + arms["control"][held_out:],
    )
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    job = run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD)
    assert re.search(f"would go to nobody: .*{says}", job.error)
    assert (
        "have ordered again since the list was made" in job.error
        or "have not ordered again" in job.error
    )
    assert (campaign_of(desk, campaign_id).state, _arms(desk, campaign_id)) == ("approved", arms)
    assert desk.lake.table("treatments").execute().empty
