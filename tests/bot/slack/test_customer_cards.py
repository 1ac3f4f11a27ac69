"""Test the customer card: opened from a list, then call, exclusion, note, details and feedback."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from retention import clock
from retention.db.tables import Audit, CallEntry, Feedback, Job, Note, Outbox, Pause
from retention.privacy import pseudonym
from tests import world
from tests.bot.slack.test_slash import until
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER, stored, words
from workers import action_ids
from workers.customers import customer_cards
from workers.delivery import outbox

AS_OF = "2017-12-01T00:00:00+00:00"
RESULT = {
    "customer_id": "42",
    "churn_probability": 0.53,
    "tier": "high",
    "sentence": "Silent for 43 days; usually orders every 2 (longest pause before: 12)",
    "reasons": [{"feature": "recency", "text": "late", "weight": 0.9, "direction": "raises"}],
    "expected_value": 202.0,
    "has_amounts": True,
    "next_order_at": None,
    "recommendations": [],
    "preferences": {"summary": "Coffee 40%", "brands": [], "searches": []},
    "action": "a coupon of 15%",
    "as_of": AS_OF,
    "note": "",
    "merged": None,
    "model_version": "churn-1",
    "currency": "USD",
    "intent": None,
    "counterfactuals": [],
    "second_opinion": None,
    "trend": [{"at": "2017-11-01T00:00:00+00:00", "risk": 0.2}],
    "last_orders": [{"at": AS_OF, "amount": 21.0, "lines": 3}],
    "campaigns": [
        {"name": "Autumn", "at": AS_OF, "action": "coupon", "arm": "treatment"}
        | {"outcome": "redeemed", "outcome_at": AS_OF}
    ],
}


@pytest.fixture
def name(settings) -> str:
    return pseudonym(settings.key, "42")


def _job(kind: str, job_id: str, args: dict, result: dict) -> Job:
    done = {"queue": "interactive", "idem_key": job_id, "state": "done", "attempt": 1}
    place = {"requested_by": ANALYST, "channel": None if "view_id" in args else ANALYST}
    times = dict.fromkeys(("created_at", "queued_at"), clock.wall())
    times["business_at"] = clock.now()
    return Job(id=job_id, kind=kind, args=args, result=result, **done, **place, **times)


@pytest.fixture
def card(workspace, database, settings) -> str:
    """A card in a direct message, and one in a modal."""
    with database.transaction() as session:
        session.add(_job("score", "card", {"customer_id": "42"}, RESULT))
        args = {"customer_id": "42", "view_id": "V1", "channel": CHANNEL}
        session.add(_job("customer_card", "modal", args, RESULT))
        session.flush()
        payload = {"images": {"trend": "f"}}
        session.add(Outbox(key="job:card", channel=ANALYST, job_id="card", payload=payload))
        for job, view in (("card", None), ("modal", "V1")):
            post = customer_cards.card_post(session, job, RESULT, ANALYST, view_id=view)
            outbox.put(session, post, default_channel=None, job_id=job)
    return "card"


def _row(database, key: str) -> Outbox:
    (row,) = stored(database, Outbox, Outbox.key == key)
    return row


def _text(database, key: str = "job:card") -> str:
    return json.dumps(_row(database, key).payload, ensure_ascii=False)


def test_card_leads_with_risk_and_sentence_and_has_three_buttons(card, database):
    payload = _row(database, "job:card").payload
    blocks = payload["blocks"]
    assert blocks[0]["text"]["text"] == "Customer 42: 53%, high risk"
    assert blocks[1]["text"]["text"].startswith("Silent for 43 days; usually orders every 2")
    (actions,) = [block for block in blocks if block["type"] == "actions"]
    assert [element["type"] for element in actions["elements"]] == 3 * ["button"] + ["overflow"]
    text = words(blocks)
    for part in ("Worth $202", "1 Dec $21", "Coffee", "coupon redeemed"):
        assert part in text
    assert not [part for part in ("LIME", "0.9") if part in text]
    assert payload["images"] == {"trend": "f"}
    modal = _row(database, "view:modal")
    assert (modal.kind, modal.payload["view_id"]) == ("view", "V1")
    assert modal.payload["view"]["type"] == "modal"
    for shown in (blocks, modal.payload["view"]["blocks"]):
        (picture,) = [block for block in shown if block["type"] == "image"]
        assert picture["slack_file"] == {"image": "trend"}


def test_exclusion_is_stored_shown_audited_and_ended(card, workspace, database, name):
    workspace.press(action_ids.CARD_PAUSE, "pause|card")
    (pause,) = until(lambda: stored(database, Pause))
    assert (pause.customer_id, pause.by) == ("42", ANALYST)
    assert timedelta(days=29) < pause.until - clock.now() <= timedelta(days=30)
    until(lambda: "Excluded from new campaigns until" in _text(database))
    assert "Include again" in _text(database)
    (entry,) = [row for row in stored(database, Audit) if row.action == "customer.exclude"]
    assert (entry.actor, entry.subject) == (ANALYST, name)
    workspace.press(action_ids.CARD_PAUSE, "resume|card")
    until(lambda: "Exclude 30 days" in _text(database))
    assert not stored(database, Pause)


def test_pressing_in_the_modal_updates_the_modal(card, workspace, database):
    workspace.press(action_ids.CARD_PAUSE, "pause|modal")
    until(lambda: "Excluded from new campaigns" in _text(database, "view:modal"))
    assert "Excluded" not in _text(database)


def test_note_is_stored_and_shown_with_its_author(card, workspace, database, api):
    workspace.press(action_ids.CARD_NOTE, "card")
    assert api.wait("views.open")["view"]
    workspace.submit(action_ids.NOTE_VIEW, "card", {"note": {"value": " calls\n back "}})
    (note,) = until(lambda: stored(database, Note))
    assert (note.customer_id, note.text, note.by) == ("42", "calls back", ANALYST)
    assert "calls back" in _text(database)
    assert "calls back" not in json.dumps([row.details for row in stored(database, Audit)])


def test_bad_note_and_outcome_are_refused_beside_their_inputs(card, workspace, database, name):
    answer = workspace.submit(action_ids.NOTE_VIEW, "card", {"note": {"value": " "}})
    assert "The note is empty" in answer["errors"]["note"]
    state = {"outcome": {"selected_option": {"value": "maybe"}}}
    answer = workspace.submit(action_ids.CALL_VIEW, f"|{name}|card", state)
    assert "'maybe'" in answer["errors"]["outcome"]
    assert stored(database, Note) == stored(database, CallEntry) == []


def test_call_has_owner_due_date_and_outcome(card, workspace, database, api, name):
    workspace.press(action_ids.CARD_CALL, "card")
    view = api.wait("views.open")["view"]
    assert "users_select" in json.dumps(view)
    state = {"owner": {"selected_user": LEAD}, "due": {"selected_date": "2017-12-05"}}
    state |= {"outcome": {"selected_option": {"value": "to_do"}}, "note": {"value": None}}
    workspace.submit(action_ids.CALL_VIEW, f"|{name}|card", state)
    (call,) = until(lambda: stored(database, CallEntry))
    assert (call.owner, call.due_on, call.outcome) == (LEAD, date(2017, 12, 5), None)
    assert f"To call, by <@{LEAD}>, due 5 Dec 2017" in _text(database)
    asked = _row(database, f"call::{name}:{LEAD}")
    assert asked.channel == LEAD
    assert f"<@{ANALYST}> asked you to call *{name}*, due 5 Dec 2017" in str(asked.payload)
    assert name in workspace.says("campaign my-calls", LEAD)
    home = workspace.open_home(LEAD)
    assert f"{name}, due 5 Dec 2017" in words(home["blocks"]).replace("*", "")
    assert f"|{name}" in json.dumps(home)  # the button records the call
    assert name not in words(workspace.open_home(ANALYST)["blocks"])
    state["outcome"] = {"selected_option": {"value": "interested"}}
    state["note"] = {"value": "wants the spring list"}
    workspace.submit(action_ids.CALL_VIEW, f"|{name}|card", state)
    until(lambda: stored(database, CallEntry)[0].outcome == "interested")
    assert "reached, will order. Note: wants the spring list" in _text(database)
    assert action_ids.OPEN_CALL not in _text(database, f"call::{name}:{LEAD}")
    assert "0 calls for you" in workspace.says("campaign my-calls", LEAD)


def test_details_hold_weights_and_feedback_is_in_the_menu(card, workspace, database, api):
    workspace.press(action_ids.CARD_MORE, "details|card")
    assert "+0.90" in json.dumps(api.wait("views.open")["view"])
    workspace.press(action_ids.CARD_MORE, "useful|card")
    (row,) = until(lambda: stored(database, Feedback))
    assert (row.customer_id, row.model_version, row.verdict) == ("42", "churn-1", "useful")


def test_draft_for_one_goes_to_the_channel_of_the_list(card, workspace, database):
    workspace.press(action_ids.CARD_MORE, "draft|card")
    (job,) = until(lambda: [j for j in stored(database, Job) if j.kind == "campaign_draft"])
    assert job.args["customer_id"] == "42"
    assert job.channel == CHANNEL  # of the recorded click


@pytest.fixture
def cohort(workspace, database, settings) -> str:
    """A list with one customer."""
    result = {
        "cohort": [RESULT],
        "customers": 9,
        "tiers": {"high": 1, "medium": 3, "low": 5},
        "definition": {"horizon_days": 28, "active_within_days": 56},
        "selection_note": "The ensemble.",
        "main_reasons": [["recency", 1]],
        "note": "",
    }
    as_of = datetime(2017, 12, 1, tzinfo=UTC)
    row = world.cohort(settings, "c0ffee", as_of, job_id="swept", model_version="churn-1")
    world.add(database, _job("sweep", "swept", {}, result), row)
    return "c0ffee"


def test_details_of_a_list_hold_model_definition_and_reasons(cohort, workspace, api):
    workspace.press(action_ids.COHORT_DETAILS, cohort, VIEWER)
    text = words(api.wait("views.open")["view"]["blocks"])
    for part in ("no order within 28 days", "long silence", "The ensemble.", "churn-1"):
        assert part in text


def test_select_opens_a_modal_that_a_worker_fills(cohort, workspace, database, api, name):
    api.answers["views.open"] = {"ok": True, "view": {"id": "V9"}}
    workspace.press(action_ids.OPEN_CUSTOMER, f"{name}|{cohort}")
    view = api.wait("views.open")["view"]
    assert "53% risk (high)" in words(view["blocks"])
    (job,) = until(lambda: [j for j in stored(database, Job) if j.kind == "customer_card"])
    assert job.args["customer_id"] == "42"
    assert (job.args["view_id"], job.args["channel"], job.channel) == ("V9", CHANNEL, None)


def test_card_of_an_erased_customer_says_so(card, workspace, database, api):
    with database.transaction() as session:
        session.get(Job, "card").result = None
    workspace.press(action_ids.CARD_PAUSE, "pause|card", ADMIN)
    until(lambda: api.named("chat.postEphemeral") + api.named("response_url"))
    assert "no longer available" in json.dumps(api.calls)
    assert not stored(database, Pause)
