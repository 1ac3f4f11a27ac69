"""Test mentions, direct messages, their threads and the shortcuts."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from sqlalchemy import select, update

from bot.ask.sentence import is_chinese
from retention.db.tables import Campaign, Cohort, DirectoryEntry, Job, Outbox, Thread
from retention.privacy import pseudonym
from tests.bot.message_samples import samples
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER, words
from tests.standins.slack_api import TEAM
from tests.workers.harness import ask, wait
from tests.world import add, execute, read, scalars
from workers import action_ids
from workers.delivery import render, threads
from workers.job_requests import Voice

ROOT, LATER = "1500000000.000100", "1500000000.000300"


@pytest.fixture
def talk(workspace, database):
    return Talk(workspace, database)


class Talk:
    """People who write to the bot, and what the outbox answers."""

    def __init__(self, workspace, database):
        self.workspace, self.database = workspace, database

    def say(self, text, user=ANALYST, channel=CHANNEL, ts=ROOT, is_mention=True, **fields):
        """Send a message's event and wait until its listener has ended."""
        is_direct = channel.startswith("D")
        event = {"type": "message", "channel_type": "im"} if is_direct else {"type": "app_mention"}
        event["text"] = f"<@U0BOT> {text}" if is_mention and not is_direct else text
        event |= {"user": user, "ts": ts, "channel": channel, **fields}
        body = {"type": "event_callback", "team_id": TEAM, "api_app_id": "A0", "event": event}
        body["authorizations"] = [{"team_id": TEAM, "user_id": "U0BOT", "is_bot": True}]
        body["event_id"] = f"Ev{ts}"
        response = self.workspace.send(json.dumps(body), "application/json")
        assert response.status == 200

    def rows(self, of=Outbox):
        return scalars(self.database, select(of))

    def reply(self, ts=ROOT, channel=CHANNEL, suffix=""):
        """Wait for the answer to a message."""
        return self.wait(f"said:{channel}:{ts}{suffix}")

    def answers(self):
        """Return all answers, once a later message is answered."""
        later = "1500000000.000200"
        self.say("status", ts=later)
        self.reply(ts=later)
        return [row for row in self.rows() if not row.key.endswith(later)]

    def wait(self, key):
        return wait(lambda: next((row for row in self.rows() if row.key == key), None))

    def until_job(self):
        return wait(lambda: self.rows(Job))[0]

    def button(self, row, action_id):
        for block in row.payload["blocks"]:
            for element in block.get("elements", []):
                if element.get("action_id") == action_id:
                    return element["value"]
        raise AssertionError(row.payload["blocks"])

    def decide(self, action_id, user=ANALYST):
        """Press a button of the answer to the first message; return its value."""
        value = self.button(self.reply(), action_id)
        self.workspace.press(action_id, value, user=user)
        return value


def text_of(row):
    return words(row.payload["blocks"])


# ---------------------------------------------------------------- reading commands


def test_mention_runs_a_reading_command_in_its_thread(talk):
    talk.say("who is at risk?")
    row = talk.reply()
    assert row.thread_key == threads.thread_key(CHANNEL, ROOT)
    assert "`/retention sweep`" in text_of(row)
    job = talk.until_job()
    assert (job.kind, job.channel, job.requested_by) == ("sweep", CHANNEL, ANALYST)
    assert job.thread_key == row.thread_key


def test_unused_part_is_named_with_the_command(talk):
    talk.say("who is about to leave in Berlin?")
    text = text_of(talk.reply())
    assert "“in Berlin”" in text
    assert "so the result is not limited by it" in text


def test_immediate_answer_is_one_message_with_the_command(talk):
    talk.say("which campaigns are live?")
    row = talk.reply()
    assert "`/retention campaign list --state live`" in text_of(row)
    assert len(talk.rows()) == 1


def test_direct_message_is_answered_in_its_thread(talk):
    talk.say("who is at risk?", channel="D0ANALYST")
    row = talk.reply(channel="D0ANALYST")
    assert row.thread_key == threads.thread_key("D0ANALYST", ROOT)
    assert talk.until_job().channel == "D0ANALYST"


def test_customer_is_a_pseudonym_in_the_channel_and_the_result_is_private(talk, settings):
    talk.say("why is household 42 at risk")
    row = talk.reply()
    name = pseudonym(settings.key, "42")
    assert f"score {name}" in text_of(row)
    assert "42 " not in text_of(row).replace(name, "")
    job = talk.until_job()
    assert (job.channel, job.thread_key) == (ANALYST, None)


@pytest.mark.parametrize(
    ("text", "user", "named"),
    [
        ("who is at risk?", VIEWER, "analyst"),
        ("why is household 77777 at risk", ANALYST, "77777"),
        ("risk of Berta Fischer", ANALYST, "Berta Fischer"),
        ("risk of Marta Fischer", VIEWER, "analyst"),
    ],
)
def test_refusal_names_what_is_wrong_and_runs_nothing(talk, named_customer, text, user, named):
    talk.say(text, user=user)
    refusal = text_of(talk.reply())
    assert named in refusal
    assert named_customer not in refusal
    assert talk.rows(Job) == []


def test_request_above_a_limit_gets_the_reason(talk):
    for number in range(1, 5):
        talk.say(f"top {number} at risk", ts=f"1500000000.00050{number}")
        talk.reply(ts=f"1500000000.00050{number}")
    assert len(talk.rows(Job)) == 3
    assert "jobs cancel" in text_of(talk.reply(ts="1500000000.000504"))


# ---------------------------------------------------------------- deliveries and loops


def test_voice_message_that_slack_has_transcribed_is_answered_at_once(talk):
    transcription = {"status": "complete", "preview": {"content": "Who is at risk?"}}
    clip = {"id": "F0CLIP", "subtype": "slack_audio", "transcription": transcription}
    sent = {"channel": "D0ANALYST", "subtype": "file_share", "files": [clip]}
    for _ in range(2):
        talk.say("", **sent)
    key = f"said:drop:D0ANALYST:{ROOT}:F0CLIP"
    assert "Who is at risk?" in text_of(talk.wait(f"{key}:heard"))
    assert "/retention sweep" in text_of(talk.wait(key))
    assert len(talk.rows(Job)) == 1


@pytest.mark.parametrize(("user", "answers"), [(ANALYST, 1), (LEAD, 0)])
def test_only_the_speaker_asks_the_words_of_a_voice_message(talk, user, answers):
    request = Voice(file_id="F0CLIP", name="audio_message.m4a", place="D0ANALYST", root=ROOT)
    job = ask(talk.database, request, "clip", user=ANALYST)
    result = {"text": "show the status", "place": "D0ANALYST", "root": ROOT}
    execute(talk.database, update(Job).where(Job.id == job.id).values(result=result))
    talk.workspace.press(action_ids.ASK_HEARD, job.id, user=user)
    key = f"said:heard:{job.id}"
    if answers:
        assert talk.wait(key)
    else:
        assert key not in {row.key for row in talk.answers()}


def test_retried_event_answers_once(talk):
    for _ in range(3):
        talk.say("who is at risk?")
    talk.reply()
    answers = talk.answers()
    assert len(talk.rows(Job)) == 1
    assert len([row for row in answers if row.key.startswith("said:")]) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"bot_id": "B1", "channel": "D0ANALYST"},
        {"app_id": "A1", "channel": "D0ANALYST"},
        {"subtype": "message_changed", "channel": "D0ANALYST"},
        {"subtype": "channel_join", "channel": "D0ANALYST"},
        {"type": "message", "channel_type": "channel"},  # without a mention
        {"text": "thanks!"},
    ],
)
def test_message_that_is_not_for_the_bot_is_ignored(talk, message):
    talk.say(**{"text": "who is at risk?", **message})
    assert talk.answers() == []


def reply_aside(talk, text, ts):
    """Reply in the channel's thread without a mention."""
    aside = {"type": "message", "channel_type": "channel", "thread_ts": ROOT}
    talk.say(text, ts=ts, is_mention=False, **aside)


def test_reply_in_a_thread_of_the_bot_needs_no_mention(talk):
    talk.say("which campaigns are live?")
    talk.reply()
    reply_aside(talk, "Thanks, I will call her.", "1500000001.000100")
    reply_aside(talk, "<@U0LEAD> which of them is yours?", "1500000001.000200")
    reply_aside(talk, "and the drafts?", "1500000001.000300")
    row = talk.reply(ts="1500000001.000300")
    assert "`/retention campaign list --state draft`" in text_of(row)
    reply_aside(talk, "will it rain?", "1500000001.000400")
    assert "found no command" in text_of(talk.reply(ts="1500000001.000400"))
    assert len(talk.rows()) == 3


def test_reply_in_a_thread_of_other_people_is_ignored(talk):
    reply_aside(talk, "who is at risk?", "1500000002.000100")
    assert talk.answers() == []


def test_chinese_question_has_a_chinese_answer_and_progress(talk):
    talk.say("谁快流失了？")
    assert is_chinese(text_of(talk.reply()))
    assert "流失风险名单" in text_of(talk.wait(f"job:{talk.until_job().id}"))
    again = "1500000004.000100"
    talk.say("which campaigns are live?", ts=again, thread_ts=ROOT)
    assert not is_chinese(text_of(talk.reply(ts=again)))
    at_once = "1500000005.000100"
    talk.say("有哪些活动正在进行？", ts=at_once, thread_ts=ROOT)
    assert is_chinese(text_of(talk.reply(ts=at_once)))


# ---------------------------------------------------------------- changes


def test_change_waits_for_a_click(talk):
    talk.say("draft 15 % for lapsing regulars under 500 euro")
    row = talk.reply()
    assert "campaign draft --discount 15 --budget 500" in text_of(row)
    assert "regulars" in text_of(row)
    assert talk.rows(Job) == []
    talk.decide(action_ids.ASK_RUN)
    job = talk.until_job()
    assert (job.kind, job.args["discount"], job.args["budget"]) == ("campaign_draft", 0.15, 500)
    assert job.thread_key == row.thread_key


def test_two_clicks_change_once_and_the_buttons_give_way(talk):
    talk.say("retrain the models")
    value = talk.decide(action_ids.ASK_RUN)
    talk.workspace.press(action_ids.ASK_RUN, value, user=LEAD)
    talk.until_job()
    (job,) = talk.rows(Job)
    wait(lambda: f"<@{job.requested_by}> ran" in text_of(talk.reply()))
    assert len(talk.rows(Job)) == 1


def test_click_of_a_lower_role_changes_nothing_and_keeps_the_button(talk):
    talk.say("retrain the models")
    talk.decide(action_ids.ASK_RUN, user=VIEWER)
    said = talk.workspace.api.wait("response_url")
    assert "analyst" in json.dumps(said)
    assert talk.rows(Job) == []
    talk.button(talk.reply(), action_ids.ASK_RUN)


def test_forged_button_is_refused(talk):
    talk.say("retrain the models")
    value = talk.button(talk.reply(), action_ids.ASK_RUN).replace("retrain", "forget 42")
    talk.workspace.press(action_ids.ASK_RUN, value)
    assert "not valid" in json.dumps(talk.workspace.api.wait("response_url"))
    assert talk.rows(Job) == []


def test_declined_change_stays_undone(talk):
    talk.say("retrain the models")
    talk.decide(action_ids.ASK_DECLINE)
    wait(lambda: "said no" in text_of(talk.reply()))
    assert talk.rows(Job) == []


def test_approval_by_sentence_needs_the_click_of_an_approver(talk, submitted):
    talk.say(f"approve campaign {submitted}", user=LEAD)
    talk.reply()
    assert talk.rows(Campaign)[0].state == "submitted"
    talk.decide(action_ids.ASK_RUN, user=LEAD)
    wait(lambda: talk.rows(Campaign)[0].state == "approved")


# ---------------------------------------------------------------- not understood


def test_unknown_sentence_offers_alternatives_that_run(talk):
    talk.say("show me everything about our buyers over time")
    talk.reply()
    assert talk.rows(Job) == []
    talk.decide(f"{action_ids.ASK_ALTERNATIVE}1")
    wait(lambda: len(talk.rows()) >= 2)


# ---------------------------------------------------------------- the thread's subject


@pytest.fixture
def sweep_thread(talk, settings, database):
    """A list that the bot has posted, with its cohort."""
    talk.workspace.run("sweep --tier medium")
    job = talk.until_job()
    talk.wait(f"job:{job.id}")
    with database.transaction() as session:
        row = session.scalars(select(Outbox).where(Outbox.key == f"job:{job.id}")).one()
        row.ts, row.channel_id, row.state = ROOT, CHANNEL, "sent"
        at_risk = {"size": 107, "revenue_at_risk": Decimal(1790), "tiers": ["high"]}
        made = {"as_of": datetime(2017, 10, 2, tzinfo=UTC), "created_by": ANALYST}
        made |= {"job_id": job.id, "run_id": f"{job.id}-1", "model_version": "rules"}
        session.add(Cohort(id="3f9a21cd", **at_risk, **made))
        session.get_one(Job, job.id).state = "done"
    return ROOT


def test_thread_of_a_list_knows_its_customers(talk, sweep_thread):
    talk.say("draft for these", ts=LATER, thread_ts=sweep_thread)
    row = talk.reply(ts=LATER)
    assert "campaign draft --cohort 3f9a21cd" in text_of(row)
    assert row.thread_key == threads.thread_key(CHANNEL, sweep_thread)


def test_thread_of_a_list_repeats_its_command_for_another_time(talk, sweep_thread):
    talk.say("and last week?", ts=LATER, thread_ts=sweep_thread)
    assert "sweep --tier medium --as-of" in text_of(talk.reply(ts=LATER))


def listed(database, *customers):
    """Put a table of customers into the list's message."""
    with database.transaction() as session:
        row = session.scalars(select(Outbox).where(Outbox.ts == ROOT)).one()
        rows = [[{"type": "raw_text", "text": text}] for text in ("customer", *customers)]
        table = {"type": "table", "block_id": "customers.3f9a21cd.1", "rows": rows}
        row.payload = {**row.payload, "blocks": [table]}


def test_thread_of_a_list_knows_the_second_customer(talk, sweep_thread, settings, database):
    name = pseudonym(settings.key, "42")
    listed(database, "G2VX-HM34", name)
    talk.say("why is the second one at risk?", ts=LATER, thread_ts=sweep_thread)
    assert f"score {name}" in text_of(talk.reply(ts=LATER))


@pytest.mark.parametrize("template", ["sweep/cohort", "customers/list"])
def test_thread_reads_the_customers_of_each_list(talk, sweep_thread, settings, database, template):
    values = samples()[template]
    blocks = render.message(template, **{**values, "zone": "UTC"}).blocks
    with database.transaction() as session:
        row = session.scalars(select(Outbox).where(Outbox.ts == ROOT)).one()
        row.payload = {**row.payload, "blocks": blocks}
    topic = read(database, threads.topic_of, CHANNEL, ROOT)
    shown = [customer.strip("⟦⟧") for customer in topic.customers]  # of the pseudo-locale
    assert shown == [one["customer"] for one in values["customers"]]


def test_place_that_the_list_does_not_have_runs_nothing(talk, sweep_thread, database):
    listed(database, "G2VX-HM34")
    talk.say("why is the fifth one at risk?", ts=LATER, thread_ts=sweep_thread)
    assert "`/retention" not in text_of(talk.reply(ts=LATER))
    assert len(talk.rows(Job)) == 1


@pytest.fixture
def named_customer(settings, database):
    """Customer 42 with a name."""
    execute(database, update(DirectoryEntry).values(display_name="Marta Fischer"))
    return pseudonym(settings.key, "42")


def test_customer_is_opened_by_name_in_a_direct_message_only(talk, named_customer):
    talk.say("risk of Marta Fischer")
    text = text_of(talk.reply())
    assert "score …" in text
    assert not {named_customer, "Marta"} & set(text.replace("`", " ").split())
    job = talk.until_job()
    assert (job.kind, job.channel, job.args["customer_id"]) == ("score", ANALYST, "42")
    assert talk.rows(Thread)[0].customer == named_customer


def shown_in_channel(talk):
    return json.dumps([row.payload for row in talk.rows() if row.channel == CHANNEL])


def test_follow_up_hides_the_pseudonym_of_a_name(talk, named_customer):
    talk.say("risk of Marta Fischer")
    talk.reply()
    talk.say("and what would she like?", ts=LATER, thread_ts=ROOT)
    assert "recommend …" in text_of(talk.reply(ts=LATER))
    assert named_customer not in shown_in_channel(talk)


@pytest.mark.parametrize("button", [action_ids.ASK_RUN, action_ids.ASK_DECLINE])
def test_decision_hides_the_pseudonym_of_a_name(talk, named_customer, button):
    talk.say("erase Marta Fischer", user=ADMIN)
    talk.decide(button, user=ADMIN)
    assert wait(lambda: action_ids.ASK_RUN not in json.dumps(talk.reply().payload))
    assert "forget …" in text_of(talk.reply())
    assert named_customer not in shown_in_channel(talk)


def test_private_answer_goes_to_the_person_only(talk, named_customer):
    talk.say("erase Marta Fischer", user=ADMIN)
    talk.decide(action_ids.ASK_RUN, user=ADMIN)
    answer = talk.reply(suffix=":confirmed:private")
    assert (answer.channel, answer.thread_key) == (ADMIN, None)
    assert talk.button(answer, action_ids.FORGET) == "42"
    pointer = talk.reply(suffix=":confirmed")
    assert action_ids.FORGET not in json.dumps(pointer.payload)


def test_direct_message_shows_the_pseudonym_of_a_name(talk, named_customer):
    talk.say("risk of Marta Fischer", channel="D0ANALYST")
    assert f"score {named_customer}" in text_of(talk.reply(channel="D0ANALYST"))


def test_channel_does_not_learn_the_pseudonyms_of_namesakes(
    talk, named_customer, settings, database
):
    other = pseudonym(settings.key, "43")
    namesake = {"pseudonym": other, "display_name": "marta fischer"}
    add(database, DirectoryEntry(customer_id="43", **namesake))
    talk.say("risk of Marta Fischer")
    text = text_of(talk.reply())
    assert not [name for name in (named_customer, other) if name in text]
    assert talk.rows(Job) == []


def test_words_that_no_customer_has_as_a_name_limit_the_list(talk, named_customer):
    talk.say("will Premium Plus churn?")
    text = text_of(talk.reply())
    assert "`/retention sweep`" in text
    assert "Premium Plus" in text


def live_campaign(database, id_, name):
    values = {"name": name, "state": "live", "post_key": f"job:{id_}", "drafted_by": ANALYST}
    add(database, Campaign(id=id_, body={}, salt="salt", **values))


def test_campaign_is_stopped_by_name_after_a_click_only(talk, database):
    live_campaign(database, "c3fk92m", "October win-back")
    talk.say("stop the october campaign")
    row = talk.reply()
    assert "campaign stop c3fk92m" in text_of(row)
    assert talk.button(row, action_ids.ASK_RUN)
    assert [row.state for row in talk.rows(Campaign)] == ["live"]


def test_two_campaigns_of_one_name_are_both_offered(talk, database):
    live_campaign(database, "c3fk92m", "October win-back")
    live_campaign(database, "c8qd41x", "October coffee")
    talk.say("stop the october campaign")
    buttons = talk.reply().payload["blocks"][1]["elements"]
    texts = {button["text"]["text"].strip("⟦⟧").rpartition(": ")[2] for button in buttons}
    assert texts == {"October win-back", "October coffee"}


def test_thread_remembers_the_last_command(talk):
    talk.say("why is household 42 at risk")
    talk.reply()
    talk.until_job()
    talk.say("what would they like?", ts=LATER, thread_ts=ROOT)
    assert "recommend " in text_of(talk.reply(ts=LATER))
    assert [row.ts for row in talk.rows(Thread)] == [ROOT]


# ---------------------------------------------------------------- shortcuts


def shortcut(talk, callback_id, message=None, user=ANALYST):
    body = {"type": "shortcut", "callback_id": callback_id, "trigger_id": "1.2"}
    body |= {"action_ts": "1500000009.000001", "team": {"id": TEAM}}
    body |= {"user": {"id": user, "team_id": TEAM}}
    body["response_url"] = talk.workspace.api.url + "response_url"
    if message:
        body |= {"type": "message_action", "message": message, "channel": {"id": CHANNEL}}
    form = urlencode({"payload": json.dumps(body)})
    assert talk.workspace.send(form, "application/x-www-form-urlencoded").status == 200


def test_why_shortcut_explains_the_customer_of_a_message(talk, settings):
    name = pseudonym(settings.key, "42")
    shortcut(talk, action_ids.WHY_MESSAGE, {"ts": ROOT, "text": f"{name} is silent", "blocks": []})
    job = talk.until_job()
    assert (job.kind, job.args["customer_id"], job.channel) == ("score", "42", ANALYST)


def test_why_shortcut_asks_which_of_several_customers(talk):
    text = "G2VX-HM34 and V556-85E7"
    shortcut(talk, action_ids.WHY_MESSAGE, {"ts": ROOT, "text": text, "blocks": []})
    view = talk.workspace.api.wait("views.open")["view"]
    options = [option["value"] for option in view["blocks"][0]["element"]["options"]]
    assert options == ["G2VX-HM34", "V556-85E7"]


def test_draft_shortcut_offers_the_list_of_the_thread(talk, sweep_thread):
    message = {"ts": sweep_thread, "text": "107 customers", "blocks": []}
    shortcut(talk, action_ids.DRAFT_MESSAGE, message)
    view = talk.workspace.api.wait("views.open")["view"]
    assert view["blocks"][0]["element"]["options"][0]["value"] == "3f9a21cd"
    assert "107" in json.dumps(view)


def test_draft_shortcut_of_a_viewer_shows_the_refusal(talk):
    shortcut(talk, action_ids.DRAFT_GLOBAL, user=VIEWER)
    assert "analyst" in json.dumps(talk.workspace.api.wait("views.open")["view"])


def test_slash_command_ask_shows_the_command_and_runs_nothing(talk):
    reply = talk.workspace.run("ask draft 10% for customers in Berlin")
    assert "campaign draft --discount 10" in words(reply["blocks"])
    assert "Berlin" in words(reply["blocks"])
    assert talk.rows(Job) == []
