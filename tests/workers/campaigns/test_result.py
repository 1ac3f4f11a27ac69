"""Test a campaign from the last e-mail to its result."""

from datetime import date, timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, select, update

from retention import clock, feedback
from retention.campaigns.codes import coupons
from retention.campaigns.lifecycle import closing, due, launch
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement import verdict
from retention.db.tables import Assignment, Audit, Coupon, File, Impression, Outbox, Send
from retention.feedback import Subject
from retention.outreach import calls
from retention.templating import money
from tests.workers.campaigns.desk import ANALYST, CHANNEL, LEAD, LOW, POLICY
from workers import action_ids
from workers.campaigns import messages as campaign_messages
from workers.campaigns.follow_ups import follow_up_request
from workers.campaigns.job_requests import CampaignLook
from workers.delivery import outbox
from workers.job_requests import Forget, Tidy
from workers.tasks.campaigns import campaign_measure


@pytest.mark.campaign("live")
def test_file_has_the_codes_of_the_treated_and_no_message_has_them(desk):
    campaign, groups, told = desk.campaign(), desk.arms(), desk.thread("next")
    assert campaign.window_ends_at - campaign.sent_at == timedelta(days=28)
    assert "window" in desk.measure().error  # that has not ended
    assert ("Nobody has been e-mailed yet" in told, action_ids.CAMPAIGN_CSV in told) == (True, True)
    assert "load it into your mail tool" in desk.thread("live")
    codes = dict(desk.rows(select(Coupon.customer_id, Coupon.code)))
    assert codes
    assert codes.keys() <= {*groups["treatment"]}  # a control gets nothing
    sent = desk.table("treatments").groupby("arm")["customer_id"].agg(sorted)
    assert sent.to_dict() == groups
    rows = desk.file()
    assert [row["customer_id"] for row in rows] == groups["treatment"]
    for row in rows:
        assert row["code"] == codes.get(row["customer_id"], "")
        assert not row["code"] or coupons.normalize_code(row["code"]) == row["code"]
        assert row["code"] in row["text"]
    file = desk.one(select(File).where(File.mime == "text/csv"))
    sent_to = desk.one(select(Outbox).where(Outbox.kind == "file"))
    audited = desk.one(select(Audit).where(Audit.action == "campaign.csv"))
    assert (sent_to.channel, file.sensitive, audited.details["rows"]) == (LEAD, True, len(rows))
    assert f"{len(rows)} rows" in desk.messages()
    assert not any(code in desk.messages() for code in codes.values())


@pytest.mark.campaign("closed")
def test_result_is_announced_in_thread_and_channel_and_to_its_people(desk):
    closed, told = desk.campaign(), desk.thread("result")
    result = closed.result
    assert (closed.state, result["sample_ratio"]["believable"]) == ("closed", True)
    assert "Incremental profit" in told
    expected = desk.body().plan().cost
    assert result["expected_cost"] == expected > 0
    assert f", expected {money(expected, 'EUR')} (" in told
    posted = select(Outbox).where(Outbox.key == f"campaign:{closed.id}:result:1")
    assert desk.one(posted).thread_key == closed.post_key
    key = f"campaign:{closed.id}:measured:1"
    for person in {closed.drafted_by, *closed.approved_by}:
        assert f"Result of {closed.name}" in desk.messages(f"{key}:{person}")
    assert action_ids.OPEN_CAMPAIGN in desk.messages(key)


@pytest.mark.campaign("closed")
def test_result_offers_a_follow_up_that_the_next_draft_keeps(desk):
    data = campaign_data(desk.campaign())
    follow = data["result"]["follow"]
    assert follow["reachable"] >= follow["customers"]
    assert data["verdict"]["next"] == follow["action"]
    assert (action_ids.FOLLOW_UP in desk.card()) == (follow["action"] is not None)
    advised = follow["action"] or verdict.FOLLOW_UPS[data["result"]["advice"]]
    draft = desk.run(follow_up_request(data, advised), ANALYST).result
    assert draft["audience"] == follow["customers"]
    assert draft["plan"]["learnable"] == (follow["action"] is not None)


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_measurement_waits_for_orders(desk):
    """Without an import the result was "it lost money, do not repeat it"."""
    assert desk.measured(desk.campaign().window_ends_at) == "measuring"
    # Nobody has imported the last minutes' orders yet
    assert desk.thread("waits") == ""
    desk.wait(days=1)
    waits = desk.measure()
    assert (waits.error, waits.result["waits"]) == (None, True)
    assert desk.campaign().state == "measuring"
    assert "import the orders of the window" in desk.thread("waits")
    desk.go_on(days=1)
    requested = [item.kind for item in desk.change(due.due_jobs, clock.now())]
    assert requested == ["campaign_measure"]
    assert desk.measured(clock.now()) == "closed"


@pytest.mark.campaign("live")
def test_views_do_not_count_as_imported_orders(desk):
    """One view after its end, no purchase imported: "it lost money, do not repeat it"."""
    ends = desk.campaign().window_ends_at
    clock.configure(fixed=ends + timedelta(hours=2))
    desk.bring("view", ends + timedelta(hours=1), ["passer-by"])
    assert desk.measured(ends + timedelta(hours=3)) == "measuring"
    assert desk.measured(ends + timedelta(days=4)) == "measuring"


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_orders_of_the_last_day_count_when_imported_later(desk):
    ends = desk.campaign().window_ends_at
    clock.configure(fixed=ends)
    desk.bring("purchase", ends - timedelta(hours=23), ["passer-by"])
    assert desk.measured(ends) == "measuring"
    clock.configure(fixed=ends + timedelta(hours=14))
    desk.bring("purchase", ends - timedelta(hours=5), desk.arms()["treatment"])
    desk.bring("purchase", ends + timedelta(hours=1), ["passer-by"])
    assert desk.measured(ends + timedelta(days=1)) == "closed"
    assert desk.campaign().result["effects"]["buyers"]["per_customer"] > 0.9


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_measurement_without_later_orders_follows_after_days(desk):
    ends = desk.campaign().window_ends_at
    clock.configure(fixed=ends)
    desk.bring("purchase", ends - timedelta(hours=23), ["passer-by"])
    assert desk.measured(ends + timedelta(days=2)) == "measuring"
    assert desk.measured(ends + timedelta(days=3)) == "closed"


@pytest.mark.nightly
@pytest.mark.campaign("live")
@pytest.mark.parametrize("stopped", [False, True])
def test_campaign_without_orders_closes_unmeasured(desk, stopped):
    """It was looked at each day for ever, and nobody could end it."""
    if stopped:
        desk.stop()
    ends = desk.campaign().window_ends_at
    waiting, ended = ("cancelled", "cancelled") if stopped else ("measuring", "closed")
    assert desk.measured(ends + timedelta(days=27)) == waiting
    assert desk.campaign().result is None
    assert desk.measured(ends + timedelta(days=28)) == ended
    result = desk.campaign().result
    assert (result["advice"], result["effects"]) == ("no_orders", {})
    assert "was not measured: the orders up to" in desk.thread("unmeasured")
    assert desk.thread("result") == ""
    assert desk.change(due.due_jobs, ends + timedelta(days=29)) == []
    clock.configure(fixed=ends + timedelta(days=29))
    people = desk.scalars(select(Assignment.customer_id))
    desk.bring("purchase", ends + timedelta(days=28), people)  # the hole stays
    desk.assert_teaches_nothing()  # without its orders it is none to learn from


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_sample_ratio_mismatch_teaches_nothing(desk):
    """Its result was not to be read, and the next draft's ranking learnt from it all the same."""
    desk.file()
    removed = desk.arms()["control"][1:]
    desk.execute(delete(Assignment).where(Assignment.customer_id.in_(removed)))
    assert desk.result_after(days=29)["advice"] == "unbelievable"
    desk.assert_teaches_nothing()


def _redeem_one(desk) -> None:
    first = desk.scalars(select(Coupon.code).order_by(Coupon.code))[0]
    used = {"state": "redeemed", "redeemed_at": clock.now() + timedelta(days=1)}
    desk.execute(update(Coupon).where(Coupon.code == first).values(**used))


@pytest.mark.nightly
@pytest.mark.campaign("live")
@pytest.mark.parametrize("redeemed", [False, True])
def test_unused_file_is_reported_and_its_customers_count(desk, redeemed):
    """The result counted all of them as left out and without cost."""
    if redeemed:
        _redeem_one(desk)
    result, contact = desk.result_after(days=29), desk.body().contact_cost
    treated = result["sample_ratio"]["treated"]
    assert (result["left_out"], result["untaken"]) == (0, treated)
    # A sum of as many is a rounding less, by its order
    assert round(result["cost"], 9) >= round(treated * contact, 9) > 0
    text = desk.thread("result")
    assert f"Nobody has downloaded the file with {treated} customers" in text
    assert ("handed out another way" in text) == redeemed
    assert "not contacted" not in text
    if redeemed:
        assert desk.read(closing.uninformative_campaigns) == set()
        assert not desk.decisions_to_learn_from().empty
    else:
        desk.assert_teaches_nothing()


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_unused_call_list_is_reported_separately(desk):
    """It was told as one, and the codes of the e-mails as handed out another way."""
    first = desk.scalars(select(Send.id).order_by(Send.id))[:2]
    desk.execute(update(Send).values(channel="email", state="sent", sent_at=clock.now()))
    called = update(Send).where(Send.id.in_(first))
    desk.execute(called.values(channel="call", state="queued"))
    _redeem_one(desk)
    result, text = desk.result_after(days=29), desk.thread("result")
    assert (result["untaken"], result["uncalled"]) == (0, 2)
    assert "Nobody has taken the call list with 2 customers." in text
    assert not any(words in text for words in ("downloaded the file", "handed out another way"))


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_result_mentions_calls_missing_days_and_erased_customers(desk, monkeypatch):
    """Erased customers count as non-buyers, and the result did not mention them."""
    outcomes = ("interested", "interested", "declined", "no_answer", "wrong_number", None)
    treated = desk.arms()["treatment"]
    erased, called = treated[:2], treated[2:8]
    now, days = clock.now(), [date(2025, 4, 20), date(2025, 4, 21)]
    desk.file()
    for customer in erased:
        desk.done(Forget(customer_id=customer), "U0ADMIN")
    for customer, outcome in zip(called, outcomes, strict=True):
        plan = calls.Plan(owner=LEAD, due_on=now.date(), outcome=outcome)
        desk.change(calls.save_entry, desk.campaign_id, customer, LEAD, now, plan)
    desk.bring("purchase", now + timedelta(days=2), [called[0], called[3]])
    monkeypatch.setattr(campaign_measure, "missing_days", lambda *window: days)
    result, told = desk.result_after(days=29), desk.thread("result")
    assert result["missing_days"] == ["2025-04-20", "2025-04-21"]
    assert "2 days without orders* (20 Apr 2025, 21 Apr 2025)" in told
    assert result["erased"] == {"treatment": 2}
    since = "2 customers were erased since the approval"
    assert f"{since} (2 with the offer, 0 in the hold-out group)" in told
    bought = result["calls"]["bought"]
    assert bought >= 1  # others may have ordered by themselves
    made = f"Calls: 5 of 6 made, 3 reached (2 will order), {bought} of those bought"
    assert f"{made}, 1 no answer, 1 wrong number." in told


@pytest.mark.nightly
@pytest.mark.campaign("live")
@pytest.mark.parametrize("ended", ["stopped", "over"])
def test_ended_campaign_announces_no_more_emails(desk, ended):
    desk.execute(update(Send).values(channel="email"))
    sent = desk.scalars(select(Send.id).order_by(Send.id))[:2]
    desk.execute(update(Send).where(Send.id.in_(sent)).values(state="sent"))
    waiting = len(desk.scalars(select(Send.id).where(Send.state == "queued")))
    shown = desk.read(campaign_messages.delivery_post, desk.campaign())
    desk.change(outbox.put, shown, default_channel=CHANNEL)
    assert f"2 copies sent, {waiting} still to come" in desk.messages(shown.key)
    if ended == "stopped":
        desk.stop()
    else:
        desk.result_after(days=29)
    text = desk.messages(shown.key)
    assert f"2 copies sent, {waiting} left out" in text
    assert "still to come" not in text


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_stopping_a_live_campaign_voids_its_codes(desk):
    desk.stop()
    assert set(desk.scalars(select(Coupon.state))) == {"void"}
    assert "cancelled" in desk.download().error
    assert "wrong price" in desk.card()
    result, told = desk.result_after(days=29), desk.messages()
    left_out = result["left_out"]
    assert (desk.campaign().state, result["advice"]) == ("cancelled", "too_small")
    assert (left_out, result["cost"]) == (result["sample_ratio"]["treated"], 0)
    assert "stopped while it was live" in told
    assert f"{left_out} customers with the offer were not contacted" in told
    assert f"(the campaign was stopped: {left_out})" in told
    desk.assert_teaches_nothing()


@pytest.mark.nightly_after(1)
@pytest.mark.campaign("approved")
@pytest.mark.parametrize(
    "before",
    ["it is live", pytest.param("a copy is sent", marks=pytest.mark.nightly), "all are sent"],
)
def test_unsent_emails_of_a_stopped_campaign_are_not_received(desk, monkeypatch, before):
    """It counted as a campaign received by customers who had got nothing."""
    if before == "it is live":
        with monkeypatch.context() as broken:
            broken.setattr(launch, "go_live", lambda *_: 1 / 0)
            desk.wait(hours=5)
            assert desk.run(desk.sending()).state == "failed"
    else:
        desk.send_now()
        some = desk.scalars(select(Send.id))[: 1 if before == "a copy is sent" else None]
        sent_now = {"state": "sent", "sent_at": clock.now()}
        desk.execute(update(Send).where(Send.id.in_(some)).values(**sent_now))
    reached = set(desk.scalars(select(Send.customer_id).where(Send.state == "sent")))
    desk.stop()
    sent = desk.table("treatments")
    assert len(sent[sent.arm == "treatment"]) > 1
    for _night in ("first", "second"):
        desk.done(Tidy(), "U0ADMIN")
        left = desk.table("treatments")
        assert set(left[left.arm == "treatment"].customer_id) == reached
        assert len(left[left.arm == "control"]) == len(sent[sent.arm == "control"]) > 0


@pytest.mark.nightly
@pytest.mark.campaign("approved")
def test_interim_look_changes_nothing(desk):
    look = CampaignLook(campaign_id=desk.campaign_id)
    assert "once it is live" in desk.run(look).error
    desk.send_now()
    assert desk.done(look).result["effects"] == {}
    assert "Too early to compare" in desk.messages()
    desk.go_on(days=10)
    result = desk.done(look).result
    assert (result["day"], result["days"]) == (10, 28)
    assert set(result["effects"]) == {"orders", "profit"}
    assert result["effects"]["orders"]["tau"] > 0
    assert "Looking often does not make a false result more likely" in desk.messages()
    assert desk.campaign().state == "live"


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_interim_look_ignores_days_without_imports(desk):
    """In a shop with weekly imports half of the days had no orders yet."""
    sent_at, look = desk.campaign().sent_at, CampaignLook(campaign_id=desk.campaign_id)
    desk.bring("purchase", sent_at + timedelta(days=6, hours=12), ["passer-by"])
    clock.configure(fixed=sent_at + timedelta(days=13))
    assert desk.done(look).result["day"] == 6
    assert "Orders are imported up to" in desk.messages()
    desk.bring("purchase", sent_at + timedelta(days=13, minutes=-5), ["passer-by"])
    looked = desk.run(look)
    assert looked.result["day"] == 13
    assert "no day after that" not in desk.messages(f"job:{looked.id}")


@pytest.mark.campaign("live")
def test_offers_and_impressions_record_the_drawn_blend_and_its_chance(desk):
    offers = desk.offers()
    tried = sum(not offer["arm"].startswith("both|") for offer in offers.values())
    assert desk.campaign().body["tried"] == tried
    for offer in offers.values():
        blend, rule = offer["arm"].split("|")
        assert rule == offer["rule"]
        chance = 0.9 + 0.1 / 3 if blend == "both" else 0.1 / 3
        chance = 1.0 if offer["action"] == "reminder" else chance
        assert offer["propensity"] == pytest.approx(chance)
        if blend == "new":
            assert "buy_again" not in {item["source"] for item in offer["items"]}
    shown = desk.scalars(select(Impression).where(Impression.surface == "campaign"))
    treated = {user for user in desk.arms()["treatment"] if offers[user]["items"]}
    assert {impression.customer_id for impression in shown} == treated
    for impression in shown:
        offer = offers[impression.customer_id]
        assert (impression.arm, impression.propensity) == (offer["arm"], offer["propensity"])


@pytest.mark.campaign("live")
def test_bandit_log_covers_draft_to_outcome(desk):
    desk.file()  # of codes that nobody took nothing would be learnt
    offers, treated = desk.offers(), desk.arms()["treatment"]
    first = desk.scalars(select(Impression).where(Impression.surface == "campaign"))[0]
    customer, item = first.customer_id, first.item_id
    # Its window has not ended
    assert desk.decisions_to_learn_from().empty
    subject = Subject(customer, "none", first.shown_at, item, 1)
    desk.read(feedback.record, subject, "useful", "U1")
    bought = {"customer_id": [customer], "event_type": "purchase", "item_id": item}
    bought |= {"order_id": "new", "occurred_at": first.shown_at + timedelta(days=2)}
    desk.bring_table("events", pd.DataFrame(bought).assign(amount=3.0, quantity=1))
    later = clock.now() + timedelta(days=40)
    lines = desk.decisions_to_learn_from(later).set_index("customer_id")
    assert sorted(lines.index) == treated
    assert (lines["propensity"] == [offers[user]["propensity"] for user in lines.index]).all()
    discount, margin = offers[customer]["discount"], lines["margin"].iloc[0]
    assert lines.loc[customer, "reward"] == pytest.approx(1 - discount / margin)
    assert (lines["reward"].drop(customer) == 0).all()


@pytest.mark.nightly
def test_bandit_is_refused_without_enough_data(desk):
    desk.settings.policy.write_text(POLICY + "[recommend]\nbandit = true\n")
    assert "judging the bandit takes 100 and 10" in desk.run(LOW, ANALYST).error
    desk.settings.policy.write_text(POLICY + "[recommend]\nexperiment = 0.0\n")
    offers = desk.offers(desk.drafted()).values()
    arms = {(offer["arm"].split("|")[0], offer["propensity"]) for offer in offers}
    assert arms == {("both", 1.0)}
