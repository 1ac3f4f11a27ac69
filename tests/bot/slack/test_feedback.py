"""Test feedback: stored once per person, customer and model; reasons are data."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from retention import impressions
from retention.churn.snapshots import Snapshot
from retention.churn.training_set import TrainingSet, exclude_doubted_labels
from retention.db.tables import Feedback
from retention.errors import BadInput
from retention.feedback import (
    LONGEST,
    Subject,
    doubted_scores,
    item_feedback,
    record,
    refused_items,
    summary,
)
from retention.privacy import pseudonym
from retention.value import bgnbd, hidden_markov
from tests.bot.slack.test_slash import until
from tests.bot.wire import ADMIN, ANALYST, LEAD, stored, words
from tests.world import change, read
from workers import action_ids

VERSION, AS_OF = "churn-20171201-abc123", "2017-12-01T00:00:00+00:00"


@pytest.fixture
def value(settings) -> str:
    return f"{pseudonym(settings.key, '42')}|{VERSION}|{AS_OF}"


def rows(database) -> list[Feedback]:
    return sorted(stored(database, Feedback), key=lambda row: row.user_id)


def submit(workspace, value: str, reason: str, user: str = ANALYST, view: str = "V1"):
    inputs = {"reason": {"type": "plain_text_input", "value": reason}}
    metadata = f"wrong|{value}|C0CRM"
    return workspace.submit(action_ids.FEEDBACK_VIEW, metadata, inputs, user, id=view, hash="1.a")


def test_useful_is_stored_once_per_person(workspace, database, api, value):
    for at in ("5.1", "5.1", "5.2"):
        assert workspace.press(action_ids.FEEDBACK_USEFUL, f"useful|{value}", at=at).status == 200
    (row,) = until(lambda: rows(database))
    values = (row.customer_id, row.model_version, row.user_id, row.verdict)
    assert values == ("42", VERSION, ANALYST, "useful")
    assert row.as_of == datetime(2017, 12, 1, tzinfo=UTC)
    assert "Noted" in api.wait("response_url")["text"]
    workspace.choose(action_ids.FEEDBACK, f"useful|{value}", LEAD)
    until(lambda: len(rows(database)) == 2)


def test_wrong_requires_a_reason_and_replaces_earlier_feedback(workspace, database, api, value):
    workspace.press(action_ids.FEEDBACK_USEFUL, f"useful|{value}")
    until(lambda: rows(database))
    workspace.press(action_ids.FEEDBACK_WRONG, f"wrong|{value}")
    view = api.wait("views.open")["view"]
    assert view["private_metadata"] == f"wrong|{value}|C0CRM"
    assert VERSION in words(view["blocks"])
    assert rows(database)[0].verdict == "useful"  # nothing is said before a reason is
    submit(workspace, value, "orders by <phone> & post\n*always*")
    (row,) = until(lambda: [row for row in rows(database) if row.verdict == "wrong"])
    assert row.reason == "orders by <phone> & post *always*"
    submit(workspace, value, "orders by <phone> & post\n*always*")
    assert len(rows(database)) == 1
    assert "wrong" in api.wait("chat.postEphemeral")["text"]


@pytest.mark.parametrize(("version", "card"), [(VERSION, True), ("rules", False)])
def test_thanks_mention_the_model_card_only_if_it_exists(
    workspace, database, api, settings, version, card
):
    """The rules have no model card."""
    value = f"{pseudonym(settings.key, '42')}|{version}|{AS_OF}"
    workspace.press(action_ids.FEEDBACK_USEFUL, f"useful|{value}")
    assert ("model card" in words(api.wait("response_url")["blocks"])) == card
    workspace.press(action_ids.FEEDBACK_WRONG, f"wrong|{value}")
    assert ("model card" in words(api.wait("views.open")["view"]["blocks"])) == card


def test_old_button_and_erased_customer_are_explained(workspace, database, api, value):
    workspace.press(action_ids.FEEDBACK_USEFUL, "useful|old")
    assert "older version" in api.wait("response_url")["text"]
    workspace.press(action_ids.FEEDBACK_USEFUL, f"useful|0000-0000|{VERSION}|{AS_OF}", ADMIN)
    until(lambda: "There is no customer" in api.named("response_url")[-1]["text"])
    assert rows(database) == []


def test_summary_counts_feedback_and_flags_doubted_labels(settings, database):
    subject = Subject("42", VERSION, datetime(2017, 12, 1, tzinfo=UTC))
    with database.transaction() as session:
        record(session, subject, "wrong", "U1", "  by   phone ")
        record(session, subject, "useful", "U2")
        with pytest.raises(BadInput, match="what is wrong"):
            record(session, subject, "wrong", "U3", " ")
        with pytest.raises(BadInput, match="characters"):
            record(session, subject, "wrong", "U3", "x" * (LONGEST + 1))
    with database.reading() as session:
        result = summary(session, VERSION)
        reason = result["reasons"][0]["text"]
        assert (result["useful"], result["wrong"], reason) == (1, 1, "by phone")
        assert doubted_scores(session) == (("42", subject.as_of),)
        assert summary(session, "other") == {"useful": 0, "wrong": 0, "reasons": []}


def test_only_doubted_labels_are_left_out_of_training():
    empty_model = hidden_markov.fit(np.zeros((0, 1), dtype=int), np.zeros(0, dtype=int))

    def snapshot(day):
        frame = pd.DataFrame({"customer_id": ["41", "42"], "recency_days": [1.0, 2.0]})
        at, labels = datetime(2017, day, 1, tzinfo=UTC), np.array([0.0, 1.0])
        return Snapshot(at, frame, labels, 2, bgnbd.BgNbd(1, 1, 1, 1), empty_model, None)

    snapshots = (snapshot(11), snapshot(9), snapshot(8))
    cutoff = datetime(2017, 12, 1, tzinfo=UTC)
    training = TrainingSet(cutoff, 28, 56, 365.0, snapshots, ("recency_days",))
    doubted = {"42": datetime(2017, 9, 20, tzinfo=UTC), "41": datetime(2017, 11, 5, tzinfo=UTC)}
    stored = exclude_doubted_labels(training, [*doubted.items()])
    taught = stored.without_doubted(stored.snapshots)
    shown = [list(snapshot.frame.customer_id) for snapshot in taught]
    assert shown == [["42"], ["41"], ["41", "42"]]
    assert list(taught[1].labels) == [0.0]
    assert all(len(snapshot.frame) == 2 for snapshot in stored.snapshots)
    assert exclude_doubted_labels(training, ()) is training


@pytest.fixture
def displayed_list(settings, database) -> str:
    """Show a list and return the value of its first item."""
    items = [{"item_id": "i<1>", "title": "Tea & <cake>", "source": "popular"}]
    made = {"surface": "recommend", "model_version": "recommend-1"}
    made["at"] = datetime(2017, 12, 1, tzinfo=UTC)
    change(database, impressions.store_list, "job1", "42", items, **made)
    return f"job1|{pseudonym(settings.key, '42')}|1"


def of_item(workspace, value: str, user: str = ANALYST, at: str = "7.1"):
    return workspace.choose(action_ids.FEEDBACK_ITEM, value, user, at)


def test_item_feedback_stores_model_and_position_and_can_change(
    workspace, database, settings, api, displayed_list
):
    of_item(workspace, f"wrong|{displayed_list}")
    of_item(workspace, f"wrong|{displayed_list}")  # delivered twice
    (row,) = until(lambda: rows(database))
    values = (row.customer_id, row.item_id, row.position, row.model_version, row.verdict)
    assert values == ("42", "i<1>", 1, "recommend-1", "wrong")
    assert refused_items(read(database, item_feedback)) == {"42": {"i<1>"}}
    reply = api.wait("response_url")["text"]
    assert "Tea &amp; &lt;cake&gt;" in reply
    assert "42" not in reply
    of_item(workspace, f"useful|{displayed_list}", at="7.2")
    until(lambda: [row for row in rows(database) if row.verdict == "useful"])
    assert refused_items(read(database, item_feedback)) == {}


def test_item_feedback_without_its_list_is_explained(workspace, database, api, displayed_list):
    for at, value, says in (
        ("8.1", f"wrong|gone|{displayed_list.split('|')[1]}|1", "not known any more"),
        ("8.2", f"bad|{displayed_list}", "another version"),
        ("8.3", displayed_list.replace("|1", "|x") + "|", "another version"),
    ):
        of_item(workspace, value, ADMIN, at)
        until(lambda says=says: any(says in reply["text"] for reply in api.named("response_url")))
    assert rows(database) == []
