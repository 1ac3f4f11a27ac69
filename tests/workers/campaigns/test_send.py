"""What is sent: to whom, with which items and codes, and never twice."""

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, time, timedelta

import pytest
from sqlalchemy import func, select, update

from retention import clock, erasure
from retention.campaigns import compose, sending
from retention.campaigns.redemptions import CodeUse, redeem
from retention.campaigns.spec import Body
from retention.db.tables import (
    Assignment,
    Audit,
    Coupon,
    File,
    Impression,
    Outbox,
    Send,
)
from retention.outreach import consent
from retention.outreach.messages import Contact
from tests.shop import merged
from tests.workers.campaigns.steps import (
    CHANNEL,
    LEAD,
    approved,
    bring,
    campaign_of,
    items_offered,
    live,
    messages,
    rows_of_file,
    run,
)
from workers import campaigns, ids, jobs
from workers.requests import CampaignCsv, CampaignSend
from workers.tasks.runner import run_job


def _sold_out_before_it_is_sent(desk, campaign_id, many) -> set[str]:
    """So many of the items that are offered most."""
    offered = Counter(item for items in items_offered(desk, campaign_id).values() for item in items)
    popular = {item for item, _ in offered.most_common(many)}
    items = desk.lake.table("items").execute()
    desk.lake.upsert("items", items.assign(in_stock=~items["item_id"].isin(popular)))
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    assert run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).error is None
    return popular


@pytest.mark.parametrize("blend", ["repeat", "new"])
def test_what_takes_the_place_of_a_sold_out_item_is_of_the_kind_that_was_drawn(desk, blend):
    """The list of who was drawn what they bought before was filled up with what they never had, under the drawn arm's name."""
    campaign_id = approved(desk)
    with desk.database.transaction() as session:
        for one in session.scalars(select(Assignment).where(Assignment.arm == "treatment")):
            one.offer = {**one.offer, "arm": f"{blend}|All"}
    before = items_offered(desk, campaign_id)
    gone = _sold_out_before_it_is_sent(desk, campaign_id, 10)
    events = desk.lake.table("events").execute()
    had = events[events.event_type == "purchase"].groupby("customer_id")["item_id"].agg(set)
    filled = [
        (who, item)
        for who, items in items_offered(desk, campaign_id).items()
        for item in items
        if item not in before[who]
        and had[who] - gone  # of who had nothing else the list is what is popular
    ]
    assert filled
    assert {item in had[who] for who, item in filled} == {blend == "repeat"}


def test_what_sold_out_since_the_draft_is_in_no_copy(desk):
    with (desk.settings.home / "policy.toml").open("a") as policy:
        policy.write(
            "[recommend]\nexperiment = 0\n"
        )  # who is drawn what they bought before may have no more of it
    campaign_id = approved(desk)
    before = items_offered(desk, campaign_id)
    popular = _sold_out_before_it_is_sent(desk, campaign_id, 3)
    after = items_offered(desk, campaign_id)
    assert not popular & {item for items in after.values() for item in items}
    assert {who: len(items) for who, items in after.items()} == {
        who: len(items) for who, items in before.items()
    }
    for who, items in before.items():
        assert [item for item in items if item not in popular] == after[who][
            : len(set(items) - popular)
        ]
    with desk.database.reading() as session:
        assert not popular & set(session.scalars(select(Impression.item_id)))


def test_who_does_not_want_to_be_written_to_any_more_is_in_no_file(desk):
    campaign_id = live(desk)
    with desk.database.reading() as session:
        sends = dict(session.execute(select(Send.customer_id, Send.id)).tuples().all())
    refused, left, *_ = sorted(sends)
    people = desk.lake.table("customers").execute()
    people.loc[people.customer_id == refused, "marketing_consent"] = False
    desk.lake.upsert("customers", people)
    assert rows_of_file(desk, campaign_id) == sends.keys() - {refused}
    with desk.database.transaction() as session:
        consent.unsubscribe(session, desk.settings, sends[left], clock.now())
    assert rows_of_file(desk, campaign_id) == sends.keys() - {refused, left}
    with desk.database.reading() as session:
        states = dict(session.execute(select(Send.customer_id, Send.state)).tuples().all())
    assert states.pop(refused) == "cancelled"
    assert set(states.values()) == {"sent"}


def _unasked(desk):
    """The policy's file, its one rule for customers who said nothing of consent, and all of them: none has."""
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        '[campaign]\nquiet_hours = ""\n[[rules]]\nname = "Unasked"\ntiers = ["high", "medium", "low"]\n'
        'consent = ["unknown"]\naction = "reminder"\n'
    )
    people = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", people.assign(marketing_consent=None))
    return policy, people


@pytest.mark.parametrize("instead", [False, True])
def test_who_was_chosen_without_having_said_anything_is_written_to_as_the_rule_says(desk, instead):
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
    policy.write_text(
        policy.read_text().replace('consent = ["unknown"]\n', "")
    )  # strict from now on
    job = run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD, key="strict")
    assert "nobody to write to" in job.error


def test_a_rule_that_is_renamed_in_the_clearance_time_leaves_nobody_out(desk):
    """Consent was asked of today's rule of that name: there was none, and all of its customers seemed to have withdrawn."""
    policy, people = _unasked(desk)
    campaign_id = live(desk)
    with desk.database.reading() as session:
        treated = sorted(session.scalars(select(Send.customer_id)))
    policy.write_text(policy.read_text().replace("Unasked", "Said nothing yet"))
    desk.lake.upsert(
        "customers", people[people.customer_id == treated[0]].assign(marketing_consent=False)
    )
    assert rows_of_file(desk, campaign_id) == {*treated[1:]}


def test_who_gets_the_offer_of_a_laxer_rule_was_still_chosen_by_their_own(desk):
    """An offer that is instead_of two rules was sent with the consent that either of them is content with."""
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        '[campaign]\nquiet_hours = ""\n[[rules]]\nname = "Asked"\ntiers = ["low"]\naction = "reminder"\n'
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


def test_codes_that_became_worthless_while_their_file_was_made_are_not_handed_over(
    desk, monkeypatch
):
    from workers.tasks import campaign_csv

    campaign_id, made = live(desk), campaign_csv.run

    def stopped_meanwhile(request, context):
        outcome = made(request, context)
        with desk.database.transaction() as session:
            campaigns.stop(session, desk.settings, campaign_id, LEAD, "wrong discount")
        return outcome

    monkeypatch.setattr(campaign_csv, "run", stopped_meanwhile)
    job = run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert "is cancelled" in job.error
    with desk.database.reading() as session:
        assert not session.scalars(select(Outbox).where(Outbox.kind == "file")).all()
        assert not session.scalars(select(Audit).where(Audit.action == "campaign.csv")).all()


def test_codes_that_are_sent_late_are_valid_as_long_as_they_say(desk):
    campaign_id = approved(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    with desk.database.transaction() as session:
        asked = jobs.submit(
            session,
            desk.settings,
            CampaignSend(campaign_id=campaign_id, version=1),
            requested_by=LEAD,
            channel=CHANNEL,
            idem_key="late",
        ).job
    clock.configure(fixed=clock.now() + timedelta(hours=30))  # no worker was there
    run_job(desk.settings, desk.database, asked.id, "test")
    assert campaign_of(desk, campaign_id).sent_at == clock.now()


def test_a_code_holds_to_the_end_of_the_day_that_its_customer_is_told(desk):
    """They read "until 8 May", and from the hour of sending on the till refused it on that day."""
    settings = desk.settings.model_copy(update={"timezone": "America/New_York"})
    desk = replace(desk, settings=settings)
    campaign_id = live(desk)
    with desk.database.reading() as session:
        row = next(
            row
            for row in sending.recipient_rows(session, campaign_of(desk, campaign_id))
            if row["code"]
        )
    last = (
        campaign_of(desk, campaign_id).sent_at.astimezone(settings.zone) + timedelta(days=28)
    ).date()
    assert compose.placeholder_values(settings, "Ann", row)["expires"] == f"{last:%d %b %Y}".lstrip(
        "0"
    )
    told = compose.compose_message(
        settings,
        Body.model_validate(campaign_of(desk, campaign_id).body),
        Send(id=1, campaign_id=campaign_id, customer_id="k"),
        Contact("ann@example.com"),
        row,
        "https://x.example/u",
    )
    assert told.offer["expires_at"].startswith(
        f"{last}T23:59:59-0"
    )  # to a platform, too, it is that day
    midnight = datetime.combine(last + timedelta(days=1), time(), settings.zone)
    with desk.database.transaction() as session:
        late, in_time = (
            CodeUse(row["code"], midnight - before, "http", key=str(before))
            for before in (timedelta(), timedelta(minutes=1))
        )
        assert redeem(session, settings, [late, in_time]) == ["expired", "redeemed"]


def test_who_is_called_is_on_a_list_of_their_own_and_gets_no_code(desk):
    policy = desk.settings.home / "policy.toml"
    policy.write_text(
        policy.read_text()
        + '[[rules]]\nname = "Call"\ntiers = ["high", "medium", "low"]\nvalues = ["high"]\naction = "call"\n'
    )
    customers = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", customers.assign(phone="+44 20 7946 0000"))
    campaign_id = live(desk)
    assert ids.CALL_LIST in messages(desk, campaign_of(desk, campaign_id).post_key)
    with desk.database.reading() as session:
        rows = session.execute(
            select(Assignment.customer_id, Assignment.offer, Assignment.arm)
        ).all()
    to_call = {who for who, offer, arm in rows if offer["action"] == "call" and arm == "treatment"}
    assert to_call
    files = {}
    for part in ("codes", "calls"):
        job = run(desk, CampaignCsv(campaign_id=campaign_id, part=part), LEAD, channel=LEAD)
        assert job.error is None
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
    assert {who for who, channel, _ in sends if channel == "call"} == to_call
    assert {state for _, _, state in sends} == {"sent"}


def test_sending_twice_or_after_a_crash_issues_each_code_once(desk, monkeypatch):

    campaign_id = approved(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    finish = sending.go_live

    def crash(*_args):
        raise RuntimeError("power cut")

    monkeypatch.setattr(sending, "go_live", crash)
    request = CampaignSend(campaign_id=campaign_id, version=1)
    assert run(desk, request, LEAD, key="send").state == "failed"
    assert campaign_of(desk, campaign_id).state == "sending"
    with desk.database.reading() as session:
        reserved = set(session.execute(select(Coupon.code, Coupon.state)).tuples().all())
    assert {state for _, state in reserved} == {"reserved"}
    monkeypatch.setattr(sending, "go_live", finish)
    assert run(desk, request, LEAD, key="again").error is None
    with desk.database.reading() as session:
        issued = set(session.execute(select(Coupon.code, Coupon.state)).tuples().all())
    assert {code for code, _ in issued} == {code for code, _ in reserved}
    assert {state for _, state in issued} == {"issued"}
    assert "already live" in run(desk, request, LEAD, key="third").error


def test_it_is_not_sent_before_its_time_nor_once_stopped(desk):
    campaign_id = approved(desk)
    request = CampaignSend(campaign_id=campaign_id, version=1)
    assert "clearance" in run(desk, request, LEAD, key="soon").error
    with desk.database.transaction() as session:
        campaigns.stop(session, desk.settings, campaign_id, LEAD, "the shop is closed")
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    assert "stopped" in run(desk, request, LEAD, key="late").error
    with desk.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Coupon)) == 0


def test_the_file_tells_what_each_code_takes_off_and_from_which_order_on(desk):
    """Whoever put the codes of money off into a shop found a discount of nought."""
    campaign_id = live(desk)
    with desk.database.transaction() as session:
        who, row = session.execute(
            select(Coupon.customer_id, Assignment)
            .join(Assignment, Assignment.customer_id == Coupon.customer_id)
            .where(Assignment.campaign_id == campaign_id)
            .order_by(Coupon.customer_id)
        ).first()
        row.offer = {**row.offer, "discount": 0.0, "amount": 5.0, "min_order": 40.0}
    assert run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD).error is None
    with desk.database.reading() as session:
        content = session.scalars(select(File.content).where(File.mime == "text/csv")).one()
    rows = {
        row["customer_id"]: row for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    }
    told = [rows[who][name] for name in ("action", "discount", "amount", "min_order")]
    assert told == ["coupon", "0.0", "5.0", "40.0"]
    other = next(row for one, row in rows.items() if one != who and row["code"])
    assert (float(other["discount"]) > 0, other["amount"], other["min_order"]) == (
        True,
        "0.0",
        "0.0",
    )


def _arms(desk, campaign_id) -> dict[str, list[str]]:
    """Arm → its customers."""
    found: dict[str, list[str]] = {"treatment": [], "control": [], "excluded": []}
    with desk.database.reading() as session:
        rows = session.scalars(
            select(Assignment)
            .where(Assignment.campaign_id == campaign_id)
            .order_by(Assignment.customer_id)
        )
        for one in rows:
            found[one.arm].append(one.customer_id)
    return found


def test_who_ordered_since_the_draft_is_left_out_of_both_arms_when_it_is_sent(desk):
    """They had come back by themselves, and were sent a coupon all the same."""
    campaign_id = approved(desk)
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
    told = messages(desk, f"campaign:{campaign_id}:returned:1")
    assert "6 customers of its audience ordered again since the sweep and are left out" in told


@pytest.mark.parametrize("broken_off", [False, True])
def test_who_is_erased_before_it_goes_live_is_in_it_no_more(desk, monkeypatch, broken_off):
    """A code went to somebody without a name; and where codes had been reserved it could never be sent: one of them was void."""
    campaign_id = approved(desk)
    before = _arms(desk, campaign_id)
    gone = [before["treatment"][0], before["control"][0]]
    request = CampaignSend(campaign_id=campaign_id, version=1)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    if broken_off:
        with monkeypatch.context() as broken:
            broken.setattr(sending, "go_live", lambda *_: 1 / 0)
            assert run(desk, request, LEAD, key="send").state == "failed"
    with desk.database.transaction() as session:
        erasure.from_sql(session, desk.settings, gone)
    erasure.from_lake(desk.lake, gone)
    assert run(desk, request, LEAD, key="again").error is None
    assert campaign_of(desk, campaign_id).state == "live"
    left = {arm: [who for who in whose if who not in gone] for arm, whose in before.items()}
    assert _arms(desk, campaign_id) == left
    assert set(desk.lake.table("treatments").execute().customer_id) == {
        *left["treatment"],
        *left["control"],
    }
    with desk.database.reading() as session:
        assert set(session.scalars(select(Send.customer_id))) == set(left["treatment"])
        assert set(session.scalars(select(Coupon.customer_id))) == set(left["treatment"])


def test_who_was_merged_since_the_draft_gets_one_copy(desk):
    """They got two, and two codes; or one although they were held out."""
    campaign_id = approved(desk)
    before = _arms(desk, campaign_id)
    pairs = [
        before["treatment"][:2],
        [before["treatment"][2], before["control"][0]],
        before["control"][1:3],
    ]
    merged(desk.lake, *pairs)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    assert run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).error is None
    after = _arms(desk, campaign_id)
    people = desk.lake.identities.people()
    assert set(after["excluded"]) == {one for pair in pairs for one in pair if one in people}
    assert len(after["excluded"]) == len(pairs)
    with desk.database.reading() as session:
        assert set(session.scalars(select(Coupon.customer_id))) == set(after["treatment"])
    told = messages(desk, f"campaign:{campaign_id}:doubles:1")
    assert "3 ids of its audience are left out" in told
    assert not messages(desk, f"campaign:{campaign_id}:returned:1")


def test_who_ordered_under_an_id_that_is_theirs_too_by_now_is_left_out(desk):
    campaign_id = approved(desk)
    one, other = _arms(desk, campaign_id)["treatment"][:2]
    merged(desk.lake, (one, other))
    bring(desk, "purchase", clock.now() + timedelta(hours=1), [one])
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    assert run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).error is None
    assert _arms(desk, campaign_id)["excluded"] == [one, other]


def test_who_orders_while_a_broken_run_waits_stays_in_the_arm_they_were_sent_with(
    desk, monkeypatch
):
    campaign_id = approved(desk)
    drafted_at, first = clock.now(), _arms(desk, campaign_id)["treatment"][:3]
    bring(desk, "purchase", drafted_at + timedelta(hours=1), first[:1])
    clock.configure(fixed=drafted_at + timedelta(hours=5))
    request = CampaignSend(campaign_id=campaign_id, version=1)
    with monkeypatch.context() as broken:
        broken.setattr(sending, "go_live", lambda *_: 1 / 0)
        assert run(desk, request, LEAD, key="send").state == "failed"
    bring(desk, "purchase", drafted_at + timedelta(hours=2), first[1:2])  # imported too late
    clock.configure(fixed=drafted_at + timedelta(hours=7))
    assert run(desk, request, LEAD, key="again").error is None
    assert _arms(desk, campaign_id)["excluded"] == first[:1]
    assert "1 customer of its audience" in messages(desk, f"campaign:{campaign_id}:returned:1")


@pytest.mark.parametrize(
    ("held_out", "says"), [(0, "are all in other campaigns, or have"), (2, r"\(2\) would all be")]
)
def test_what_would_go_to_nobody_any_more_is_not_sent(desk, held_out, says):
    campaign_id = approved(desk)
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
        "have ordered again since the sweep" in job.error or "have not ordered again" in job.error
    )
    assert (campaign_of(desk, campaign_id).state, _arms(desk, campaign_id)) == ("approved", arms)
    assert desk.lake.table("treatments").execute().empty
