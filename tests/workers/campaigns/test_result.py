"""Test a campaign from the last e-mail to its result."""

import csv
import io
from datetime import date, timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, func, select, update

from retention import clock, feedback
from retention.campaigns.codes import coupons
from retention.campaigns.codes.file_imports import LISTENER
from retention.campaigns.lifecycle import closing, due, launch
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement import verdict
from retention.db.tables import Assignment, Audit, Coupon, File, Impression, Outbox, Send
from retention.feedback import Subject
from retention.lake.importing.import_files import import_files
from retention.outreach import calls
from retention.recommend.bandit.decisions import logged_decisions
from retention.templating import money
from tests.workers.campaigns.steps import (
    ANALYST,
    CHANNEL,
    LEAD,
    POLICY,
    approved,
    bring,
    campaign_of,
    done,
    drafted,
    go_on,
    live,
    measured,
    messages,
    offers_of,
    prepared_campaign,
    rows_of_file,
    run,
    stop_now,
    teaches_nothing,
    treated_of,
)
from tests.world import change, one, scalars
from workers import ids
from workers.campaigns import decisions
from workers.campaigns import messages as campaign_messages
from workers.campaigns.follow_ups import follow_up_request
from workers.campaigns.requests import (
    CampaignCsv,
    CampaignDraft,
    CampaignLook,
    CampaignMeasure,
    CampaignSend,
)
from workers.delivery import outbox
from workers.requests import Forget, Tidy
from workers.tasks.campaigns import campaign_measure


@pytest.mark.campaign("live")
def test_campaign_reaches_its_result(desk):
    campaign_id = prepared_campaign(desk)
    campaign = campaign_of(desk, campaign_id)
    assert campaign.state == "live"
    assert campaign.window_ends_at - campaign.sent_at == timedelta(days=28)
    with desk.database.reading() as session:
        arms = dict(
            session.execute(
                select(Assignment.customer_id, Assignment.arm).where(
                    Assignment.campaign_id == campaign_id
                )
            )
            .tuples()
            .all()
        )
        coupon_of = dict(session.execute(select(Coupon.customer_id, Coupon.code)).tuples().all())
    treated = {user for user, arm in arms.items() if arm == "treatment"}
    assert coupon_of
    assert coupon_of.keys() <= treated  # a control gets nothing
    sent = desk.lake.table("treatments").execute()
    assert dict(zip(sent["customer_id"], sent["arm"], strict=True)) == arms

    job = done(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    with desk.database.reading() as session:
        file = session.scalars(select(File).where(File.mime == "text/csv")).one()
        sent_to = session.scalars(select(Outbox).where(Outbox.kind == "file")).one()
        audited = session.scalars(select(Audit).where(Audit.action == "campaign.csv")).one()
    rows = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert {row["customer_id"] for row in rows} == treated
    assert all(coupons.normalize_code(row["code"]) == row["code"] for row in rows if row["code"])
    assert all(not row["code"] or row["code"] in row["text"] for row in rows)
    assert (sent_to.channel, file.sensitive, audited.details["rows"]) == (LEAD, True, len(rows))
    assert f"{len(rows)} rows" in messages(desk)
    assert not any(code in messages(desk) for code in coupon_of.values())  # nor in any message

    early = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="early")
    assert "window" in early.error
    go_on(desk, days=29)
    job = done(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="late")
    assert job.result["sample_ratio"]["believable"]
    closed = campaign_of(desk, campaign_id)
    follow = job.result["follow"]
    assert follow["reachable"] >= follow["customers"]
    shown = campaign_data(closed)["verdict"]
    assert shown["next"] == follow["action"]
    assert (ids.FOLLOW_UP in messages(desk, closed.post_key)) == (follow["action"] is not None)
    advised = follow["action"] or verdict.FOLLOW_UPS[job.result["advice"]]
    draft = run(desk, follow_up_request(campaign_data(closed), advised), ANALYST, key="next")
    assert draft.result["audience"] == follow["customers"]
    is_learnable = draft.result["plan"]["learnable"]
    assert is_learnable == (follow["action"] is not None)
    assert closed.state == "closed"
    told = messages(desk, f"campaign:{campaign_id}:result:1")
    assert "Incremental profit" in told
    expected = Body.model_validate(closed.body).plan().cost
    assert job.result["expected_cost"] == expected > 0
    assert f", expected {money(expected, 'EUR')} (" in told
    posted = one(
        desk.database, select(Outbox).where(Outbox.key == f"campaign:{campaign_id}:result:1")
    )
    assert posted.thread_key == closed.post_key


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_measurement_waits_for_orders(desk):
    """Without an import the result was "it lost money, do not repeat it"."""
    campaign_id = prepared_campaign(desk)
    assert measured(desk, campaign_id, campaign_of(desk, campaign_id).window_ends_at) == "measuring"
    # Nobody has imported the last minutes' orders yet
    assert messages(desk, f"campaign:{campaign_id}:waits:1") == ""
    clock.configure(fixed=clock.now() + timedelta(days=1))
    waits = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="no orders yet")
    assert (waits.error, waits.result["waits"]) == (None, True)
    assert campaign_of(desk, campaign_id).state == "measuring"
    assert "import the orders of the window" in messages(desk, f"campaign:{campaign_id}:waits:1")
    go_on(desk, days=1)
    requested = [item.kind for item in change(desk.database, due.due_jobs, clock.now())]
    assert requested == ["campaign_measure"]
    run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key="the next day")
    assert campaign_of(desk, campaign_id).state == "closed"


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_result_mentions_missing_days(desk, monkeypatch):
    campaign_id = prepared_campaign(desk)
    monkeypatch.setattr(
        campaign_measure, "missing_days", lambda *window: [date(2025, 4, 20), date(2025, 4, 21)]
    )
    go_on(desk, days=29)
    measured = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    assert measured.result["missing_days"] == ["2025-04-20", "2025-04-21"]
    text = messages(desk, f"campaign:{campaign_id}:result:1")
    assert "2 days without orders* (20 Apr 2025, 21 Apr 2025)" in text


@pytest.mark.campaign("live")
def test_views_do_not_count_as_imported_orders(desk):
    """One view after its end, no purchase imported: "it lost money, do not repeat it"."""
    campaign_id = prepared_campaign(desk)
    ends = campaign_of(desk, campaign_id).window_ends_at
    clock.configure(fixed=ends + timedelta(hours=2))
    bring(desk, "view", ends + timedelta(hours=1), ["passer-by"])
    assert measured(desk, campaign_id, ends + timedelta(hours=3)) == "measuring"
    assert measured(desk, campaign_id, ends + timedelta(days=4)) == "measuring"


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_orders_of_the_last_day_count_when_imported_later(desk):
    campaign_id = prepared_campaign(desk)
    ends = campaign_of(desk, campaign_id).window_ends_at
    clock.configure(fixed=ends)
    bring(desk, "purchase", ends - timedelta(hours=23), ["passer-by"])
    assert measured(desk, campaign_id, ends) == "measuring"
    treated = treated_of(desk, campaign_id)
    clock.configure(fixed=ends + timedelta(hours=14))
    bring(desk, "purchase", ends - timedelta(hours=5), treated)
    bring(desk, "purchase", ends + timedelta(hours=1), ["passer-by"])
    assert measured(desk, campaign_id, ends + timedelta(days=1)) == "closed"
    assert campaign_of(desk, campaign_id).result["effects"]["buyers"]["per_customer"] > 0.9


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_measurement_without_later_orders_follows_after_days(desk):
    campaign_id = prepared_campaign(desk)
    ends = campaign_of(desk, campaign_id).window_ends_at
    clock.configure(fixed=ends)
    bring(desk, "purchase", ends - timedelta(hours=23), ["passer-by"])
    assert measured(desk, campaign_id, ends + timedelta(days=2)) == "measuring"
    assert measured(desk, campaign_id, ends + timedelta(days=3)) == "closed"


@pytest.mark.nightly
@pytest.mark.nightly_after(1)
@pytest.mark.campaign("live")
@pytest.mark.parametrize("stopped", [False, True])
def test_campaign_without_orders_closes_unmeasured(desk, stopped):
    """It was looked at each day for ever, and nobody could end it."""
    campaign_id = prepared_campaign(desk)
    if stopped:
        stop_now(desk, campaign_id)
    ends = campaign_of(desk, campaign_id).window_ends_at
    waiting, ended = ("cancelled", "cancelled") if stopped else ("measuring", "closed")
    assert measured(desk, campaign_id, ends + timedelta(days=27)) == waiting
    assert campaign_of(desk, campaign_id).result is None
    assert measured(desk, campaign_id, ends + timedelta(days=28)) == ended
    result = campaign_of(desk, campaign_id).result
    assert (result["advice"], result["effects"]) == ("no_orders", {})
    text = messages(desk, f"campaign:{campaign_id}:unmeasured:1")
    assert "was not measured: the orders up to" in text
    assert messages(desk, f"campaign:{campaign_id}:result:1") == ""
    with desk.database.transaction() as session:
        assert due.due_jobs(session, ends + timedelta(days=29)) == []
        people = session.scalars(
            select(Assignment.customer_id).where(Assignment.campaign_id == campaign_id)
        ).all()
    clock.configure(fixed=ends + timedelta(days=29))
    bring(desk, "purchase", ends + timedelta(days=28), people)  # the hole stays
    teaches_nothing(desk, campaign_id)  # without its orders it is none to learn from


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_result_mentions_erased_customers(desk):
    """Erased customers count as non-buyers, and the result did not mention them."""
    campaign_id = prepared_campaign(desk)
    rows_of_file(desk, campaign_id)
    treated = treated_of(desk, campaign_id)
    for item in treated[:2]:
        assert run(desk, Forget(customer_id=item), "U0ADMIN").error is None
    go_on(desk, days=29)
    measured = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    assert (measured.error, measured.result["erased"]) == (None, {"treatment": 2})
    text = messages(desk, f"campaign:{campaign_id}:result:1")
    assert (
        "2 customers were erased since the approval (2 with the offer, 0 in the hold-out group)"
        in text
    )


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_sample_ratio_mismatch_teaches_nothing(desk):
    """Its result was not to be read, and the next draft's ranking learnt from it all the same."""
    campaign_id = prepared_campaign(desk)
    rows_of_file(desk, campaign_id)
    held_out = (Assignment.campaign_id == campaign_id, Assignment.arm == "control")
    with desk.database.transaction() as session:
        removed = session.scalars(select(Assignment.customer_id).where(*held_out)).all()[1:]
        session.execute(delete(Assignment).where(*held_out, Assignment.customer_id.in_(removed)))
    go_on(desk, days=29)
    measured = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    assert measured.result["advice"] == "unbelievable"
    teaches_nothing(desk, campaign_id)


@pytest.mark.nightly
@pytest.mark.nightly_after(1)
@pytest.mark.campaign("live")
@pytest.mark.parametrize("redeemed", [False, True])
def test_unused_file_is_reported_and_its_customers_count(desk, redeemed):
    """The result counted all of them as left out and without cost."""
    campaign_id = prepared_campaign(desk)
    if redeemed:
        with desk.database.transaction() as session:
            used = session.scalars(select(Coupon).order_by(Coupon.code).limit(1)).one()
            used.state, used.redeemed_at = "redeemed", clock.now() + timedelta(days=1)
    go_on(desk, days=29)
    measured = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    result, contact = measured.result, campaign_of(desk, campaign_id).body["contact_cost"]
    treated = result["sample_ratio"]["treated"]
    assert (measured.error, result["left_out"], result["untaken"]) == (None, 0, treated)
    # A sum of as many is a rounding less, by its order
    assert round(result["cost"], 9) >= round(treated * contact, 9) > 0
    text = messages(desk, f"campaign:{campaign_id}:result:1")
    assert f"Nobody has downloaded the file with {treated} customers" in text
    assert ("handed out another way" in text) == redeemed
    assert "not contacted" not in text
    if redeemed:
        with desk.database.reading() as session:
            assert closing.uninformative_campaigns(session) == set()
            assert not logged_decisions(
                desk.lake, session, clock.now(), closing.uninformative_campaigns(session)
            ).empty
    else:
        teaches_nothing(desk, campaign_id)


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_unused_call_list_is_reported_separately(desk):
    """It was told as one, and the codes of the e-mails as handed out another way."""
    campaign_id = prepared_campaign(desk)
    with desk.database.transaction() as session:
        first = session.scalars(select(Send.id).order_by(Send.id).limit(2)).all()
        session.execute(update(Send).values(channel="email", state="sent", sent_at=clock.now()))
        session.execute(
            update(Send).where(Send.id.in_(first)).values(channel="call", state="queued")
        )
        used = session.scalars(select(Coupon).order_by(Coupon.code).limit(1)).one()
        used.state, used.redeemed_at = "redeemed", clock.now() + timedelta(days=1)
    go_on(desk, days=29)
    result = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD).result
    assert (result["untaken"], result["uncalled"]) == (0, 2)
    text = messages(desk, f"campaign:{campaign_id}:result:1")
    assert "Nobody has taken the call list with 2 customers." in text
    assert not any(words in text for words in ("downloaded the file", "handed out another way"))


@pytest.mark.campaign("live")
def test_result_is_announced_in_channel_and_to_drafter_and_approver(desk):
    campaign_id = prepared_campaign(desk)
    campaign, key = campaign_of(desk, campaign_id), f"campaign:{campaign_id}:measured:1"
    go_on(desk, days=29)
    assert run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD).error is None
    for person in {campaign.drafted_by, *campaign.approved_by}:
        assert f"Result of {campaign.name}" in messages(desk, f"{key}:{person}")
    assert ids.OPEN_CAMPAIGN in messages(desk, key)


@pytest.mark.campaign("live")
def test_drafter_is_told_to_download_the_file(desk):
    campaign_id = prepared_campaign(desk)
    told = messages(desk, f"campaign:{campaign_id}:next:1")
    assert "Nobody has been e-mailed yet" in told
    assert ids.CAMPAIGN_CSV in told
    assert "load it into your mail tool" in messages(desk, f"campaign:{campaign_id}:live:1")


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_result_says_how_the_calls_went(desk):
    campaign_id = prepared_campaign(desk)
    outcomes = ("interested", "interested", "declined", "no_answer", "wrong_number", None)
    with desk.database.transaction() as session:
        treated = select(Assignment.customer_id).where(Assignment.arm == "treatment")
        called = session.scalars(treated.order_by(Assignment.customer_id).limit(6)).all()
        for customer, outcome in zip(called, outcomes, strict=True):
            plan = {"owner": LEAD, "due_on": clock.now().date(), "outcome": outcome}
            calls.save_entry(session, campaign_id, customer, LEAD, clock.now(), calls.Plan(**plan))
    bring(desk, "purchase", clock.now() + timedelta(days=2), [called[0], called[3]])
    go_on(desk, days=29)
    result = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD).result
    assert result["calls"]["bought"] >= 1  # others may have ordered by themselves
    text = messages(desk, f"campaign:{campaign_id}:result:1")
    assert (
        f"Calls: 5 of 6 made, 3 reached (2 will order), {result['calls']['bought']} of those "
        "bought, 1 no answer, 1 wrong number."
    ) in text


@pytest.mark.nightly
@pytest.mark.campaign("live")
@pytest.mark.parametrize("ended", ["stopped", "over"])
def test_ended_campaign_announces_no_more_emails(desk, ended):
    campaign_id = prepared_campaign(desk)
    with desk.database.transaction() as session:
        session.execute(update(Send).values(channel="email"))
        sent = session.scalars(select(Send).order_by(Send.id).limit(2)).all()
        for item in sent:
            item.state = "sent"
        waiting = session.scalar(select(func.count()).where(Send.state == "queued"))
        shown = campaign_messages.delivery_post(session, campaign_of(desk, campaign_id))
        outbox.put(session, shown, default_channel=CHANNEL)
    assert f"2 copies sent, {waiting} still to come" in messages(desk, shown.key)
    if ended == "stopped":
        stop_now(desk, campaign_id)
    else:
        go_on(desk, days=29)
        assert run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD).error is None
    text = messages(desk, shown.key)
    assert f"2 copies sent, {waiting} left out" in text
    assert "still to come" not in text


@pytest.mark.campaign("live")
def test_stopping_a_live_campaign_voids_its_codes(desk):
    campaign_id = prepared_campaign(desk)
    stop_now(desk, campaign_id)
    assert set(scalars(desk.database, select(Coupon.state))) == {"void"}
    job = run(desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert "cancelled" in job.error
    assert "wrong price" in messages(desk, campaign_of(desk, campaign_id).post_key)
    go_on(desk, days=29)
    measured = done(desk, CampaignMeasure(campaign_id=campaign_id), LEAD)
    assert (campaign_of(desk, campaign_id).state, measured.result["advice"]) == (
        "cancelled",
        "too_small",
    )
    assert "stopped while it was live" in messages(desk)
    assert f"{measured.result['left_out']} customers with the offer were not contacted" in messages(
        desk
    )
    assert f"(the campaign was stopped: {measured.result['left_out']})" in messages(desk)
    assert (measured.result["left_out"], measured.result["cost"]) == (
        measured.result["sample_ratio"]["treated"],
        0,
    )
    teaches_nothing(desk, campaign_id)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    "before",
    ["it is live", pytest.param("a copy is sent", marks=pytest.mark.nightly), "all are sent"],
)
def test_unsent_emails_of_a_stopped_campaign_are_not_received(desk, monkeypatch, before):
    """It counted as a campaign received by customers who had got nothing."""
    if before == "it is live":
        monkeypatch.setattr(launch, "go_live", lambda *_: 1 / 0)
        campaign_id = approved(desk)
        clock.configure(fixed=clock.now() + timedelta(hours=5))
        assert run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD).state == "failed"
    else:
        campaign_id = live(desk)
    with desk.database.transaction() as session:
        if before != "it is live":
            some = select(Send.id).where(Send.campaign_id == campaign_id)
            some = some.limit(1) if before == "a copy is sent" else some
            session.execute(
                update(Send).where(Send.id.in_(some)).values(state="sent", sent_at=clock.now())
            )
        treated = dict(session.execute(select(Send.customer_id, Send.state)).all())
        decisions.stop(session, Step(campaign_id, LEAD), "wrong price")
    reached = {user for user, state in treated.items() if state == "sent"}
    sent = desk.lake.table("treatments").execute()
    assert len(sent[sent.arm == "treatment"]) > 1
    for night in ("first", "second"):
        assert run(desk, Tidy(), "U0ADMIN", key=night).error is None
        left = desk.lake.table("treatments").execute()
        assert set(left[left.arm == "treatment"].customer_id) == reached
        assert len(left[left.arm == "control"]) == len(sent[sent.arm == "control"]) > 0


@pytest.mark.campaign("approved")
def test_interim_look_changes_nothing(desk):
    campaign_id = prepared_campaign(desk)
    assert (
        "once it is live"
        in run(desk, CampaignLook(campaign_id=campaign_id), LEAD, key="early").error
    )
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD)
    looked = run(desk, CampaignLook(campaign_id=campaign_id), LEAD, key="on its first day")
    assert (looked.error, looked.result["effects"]) == (None, {})
    assert "Too early to compare" in messages(desk)
    go_on(desk, days=10)
    looked = done(desk, CampaignLook(campaign_id=campaign_id), LEAD)
    assert (looked.result["day"], looked.result["days"]) == (10, 28)
    assert set(looked.result["effects"]) == {"orders", "profit"}
    assert looked.result["effects"]["orders"]["tau"] > 0
    assert "Looking often does not make a false result more likely" in messages(desk)
    assert campaign_of(desk, campaign_id).state == "live"


@pytest.mark.campaign("live")
def test_interim_look_ignores_days_without_imports(desk):
    """In a shop with weekly imports half of the days had no orders yet."""
    campaign_id = prepared_campaign(desk)
    sent_at = campaign_of(desk, campaign_id).sent_at
    bring(desk, "purchase", sent_at + timedelta(days=6, hours=12), ["passer-by"])
    clock.configure(fixed=sent_at + timedelta(days=13))
    looked = run(desk, CampaignLook(campaign_id=campaign_id), LEAD)
    assert (looked.error, looked.result["day"]) == (None, 6)
    assert "Orders are imported up to" in messages(desk)
    bring(desk, "purchase", sent_at + timedelta(days=13, minutes=-5), ["passer-by"])
    looked = run(desk, CampaignLook(campaign_id=campaign_id), LEAD, key="once they are there")
    assert looked.result["day"] == 13
    assert "no day after that" not in messages(desk, f"job:{looked.id}")


@pytest.mark.campaign("live")
def test_bandit_log_covers_draft_to_outcome(desk):
    campaign_id = prepared_campaign(desk)
    rows_of_file(desk, campaign_id)  # of codes that nobody took nothing would be learnt
    with desk.database.reading() as session:
        offers = dict(
            session.execute(
                select(Assignment.customer_id, Assignment.offer).where(
                    Assignment.campaign_id == campaign_id
                )
            ).all()
        )
        treated = session.scalars(
            select(Assignment.customer_id).where(
                Assignment.arm == "treatment", Assignment.campaign_id == campaign_id
            )
        ).all()
        shown = session.scalars(select(Impression).where(Impression.surface == "campaign")).all()
    tried = sum(not offer["arm"].startswith("both|") for offer in offers.values())
    assert campaign_of(desk, campaign_id).body["tried"] == tried
    for offer in offers.values():
        blend, rule = offer["arm"].split("|")
        assert rule == offer["rule"]
        chance = (
            1.0 if offer["action"] == "reminder" else 0.9 + 0.1 / 3 if blend == "both" else 0.1 / 3
        )
        assert offer["propensity"] == pytest.approx(chance)
        if blend == "new":
            assert "buy_again" not in {item["source"] for item in offer["items"]}
    assert {element.customer_id for element in shown} == {
        user for user in treated if offers[user]["items"]
    }
    assert all(
        (impression.arm, impression.propensity)
        == (offers[impression.customer_id]["arm"], offers[impression.customer_id]["propensity"])
        for impression in shown
    )
    first = shown[0]
    later = clock.now() + timedelta(days=40)
    with desk.database.reading() as session:
        # Its window has not ended
        assert logged_decisions(
            desk.lake, session, clock.now(), closing.uninformative_campaigns(session)
        ).empty
        feedback.record(
            session,
            Subject(first.customer_id, "none", first.shown_at, first.item_id, 1),
            "useful",
            "U1",
        )
    bought = pd.DataFrame(
        {
            "customer_id": [first.customer_id],
            "event_type": "purchase",
            "item_id": first.item_id,
            "order_id": "new",
            "occurred_at": [first.shown_at + timedelta(days=2)],
            "amount": 3.0,
            "quantity": 1,
        }
    )
    file = desk.settings.home / "bought.parquet"
    bought.to_parquet(file)
    import_files(desk.lake, desk.database, desk.settings, "events", [str(file)], listener=LISTENER)
    with desk.database.reading() as session:
        lines = logged_decisions(
            desk.lake, session, later, closing.uninformative_campaigns(session)
        ).set_index("customer_id")
    assert sorted(lines.index) == sorted(treated)
    assert (lines["propensity"] == [offers[user]["propensity"] for user in lines.index]).all()
    discount, margin = offers[first.customer_id]["discount"], lines["margin"].iloc[0]
    assert lines.loc[first.customer_id, "reward"] == pytest.approx(1 - discount / margin)
    assert (lines["reward"].drop(first.customer_id) == 0).all()


@pytest.mark.nightly
def test_bandit_is_refused_without_enough_data(desk):
    desk.settings.policy.write_text(POLICY + "[recommend]\nbandit = true\n")
    job = run(desk, CampaignDraft(tier="low"), ANALYST)
    assert "judging the bandit takes 100 and 10" in job.error
    desk.settings.policy.write_text(POLICY + "[recommend]\nexperiment = 0.0\n")
    campaign_id = drafted(desk, name="without")
    offers = offers_of(desk, campaign_id)
    assert {(offer["arm"].split("|")[0], offer["propensity"]) for offer in offers} == {
        ("both", 1.0)
    }
