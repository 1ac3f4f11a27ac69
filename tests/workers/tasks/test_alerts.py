"""Test when alerts are checked, and which messages they make."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from bot.commands import parsing as commandline
from retention import clock
from retention.alerts import store
from retention.alerts.checks import Check
from retention.alerts.condition import parse_condition
from retention.audiences.scores import members_at
from retention.db.tables import Alert, AlertFiring, Job, Outbox
from retention.errors import BadInput, Conflict
from retention.privacy import pseudonym
from tests import world
from tests.workers import harness
from tests.workers.harness import ADMIN, CHANNEL
from tests.world import change, read, scalars
from workers import action_ids, user_roles
from workers.delivery import render
from workers.job_requests import AlertCheck, Customers
from workers.queue import jobs
from workers.schedule import due_alerts, tick
from workers.tasks import runner

NOON = datetime(2025, 7, 21, 12, 0, tzinfo=UTC)


def add(database, settings, name, condition="last_order > 20", **options) -> int:
    values = {"audience": None, "channel": CHANNEL, "by": ADMIN} | options
    return change(database, store.add, name, parse_condition(condition), **values).id


def published(database, settings, checks, at=NOON):
    clock.configure(fixed=at)
    return change(database, due_alerts.publish, checks, at, f"j{at:%d%H%M}")


def fired(customers=2) -> Check:
    facts = {"entered": customers, "total": 9, "since": NOON.isoformat()}
    return Check({"as_of": NOON.isoformat()}, True, customers, facts, ("c1", "c2"))


def firings(database) -> list[str]:
    return scalars(database, select(AlertFiring.state).order_by(AlertFiring.id))


def test_alerts_that_fire_together_share_one_message_per_channel(database, settings):
    one = add(database, settings, "one")
    two = add(database, settings, "two", "data late")
    other = add(database, settings, "other", channel="C0OTHER")
    late = Check({"is_true": True}, True, 0, {"newest": NOON.isoformat(), "days": 2})
    posts = published(database, settings, [(one, fired()), (two, late), (other, fired())])
    expected = [(CHANNEL, 2), ("C0OTHER", 1)]
    assert [(post.channel, len(post.values["alerts"])) for post in posts] == expected
    blocks = shown_blocks(posts[0])
    shown = json.dumps(blocks)
    assert pseudonym(settings.key, "c1") in shown
    assert action_ids.ALERT_MENU in shown
    assert len(blocks) <= 5


def shown_blocks(post) -> list[dict]:
    return render.message(post.template, zone="UTC", **post.values).blocks


def test_fired_alert_has_no_operators_and_a_button_to_the_list(database, settings):
    condition = 'risk >= low and city = "New York"'
    alert = add(database, settings, "fresh", condition, audience="berlin")
    (post,) = published(database, settings, [(alert, fired())])
    blocks = shown_blocks(post)
    shown = blocks[0]["text"]["text"]
    assert "&gt;" not in shown
    (button,) = [b["elements"][0] for b in blocks if b["type"] == "actions"]
    assert button["action_id"].startswith(action_ids.RUN_COMMAND)
    params = commandline.parse(button["value"]).params
    assert (params["where"], params["audience"], params["tier"]) == (condition, "berlin", "low")


def test_list_of_an_alert_without_a_score_has_all_its_customers(shop_copy):
    settings, database = shop_copy.settings, shop_copy.database
    clock.configure(fixed=shop_copy.end)
    alert = add(database, settings, "lapsed", "last_order > 60d")  # of whom many are not active
    with database.reading() as session:
        condition = store.condition_of(session.get_one(Alert, alert)).expression
    counted = members_at(shop_copy.lake, database, condition).customers
    assert counted, "nobody"
    (post,) = published(database, settings, [(alert, fired(len(counted)))], shop_copy.end)
    typed = commandline.parse(post.values["alerts"][0]["list"])
    assert typed.command.name == "customers"
    request = Customers(where=typed.params["where"])
    job = harness.ask(database, request, "list", user=user_roles.OPERATOR)
    runner.run_job(database, job.id, "test")
    assert harness.job(database, job.id).result["size"] == len(counted)


def test_muted_and_snoozed_alerts_post_nothing_but_keep_their_state(database, settings):
    clock.configure(fixed=NOON)
    muted, snoozed = add(database, settings, "muted"), add(database, settings, "snoozed")
    with database.transaction() as session:
        store.mute(session, "muted", ADMIN)
        store.snooze(session, "snoozed", ADMIN, 7)
    assert published(database, settings, [(muted, fired()), (snoozed, fired())]) == ()
    assert firings(database) == ["muted", "snoozed"]
    with database.reading() as session:
        states = [alert.state for alert in store.alerts(session)]
        assert states == [{"as_of": NOON.isoformat()}] * 2
    later = NOON + timedelta(days=8)
    (post,) = published(database, settings, [(muted, fired()), (snoozed, fired())], later)
    assert [one["name"] for one in post.values["alerts"]] == ["snoozed"]


def test_alerts_beyond_the_daily_cap_are_counted_but_not_posted(database, settings):
    numbers = [add(database, settings, f"a{number}") for number in range(due_alerts.DAILY_CAP + 2)]
    (post,) = published(database, settings, [(number, fired()) for number in numbers])
    assert len(post.values["alerts"]) == due_alerts.DAILY_CAP
    assert post.values["capped"] == 2
    assert "2 more alerts" in json.dumps(shown_blocks(post))
    assert firings(database).count("capped") == 2
    assert published(database, settings, [(numbers[0], fired())], NOON + timedelta(hours=1)) == ()
    tomorrow = NOON + timedelta(days=1)
    assert len(published(database, settings, [(numbers[0], fired())], tomorrow)) == 1


def test_harm_offers_to_stop_the_campaign_and_states_the_false_alarm_rate(database, settings):
    number = add(database, settings, "harm", "campaign harm")
    campaign = {"id": "c1", "version": 3, "name": "Spring", "currency": "EUR", "customers": 400}
    campaign |= {"low": -300.0, "high": -20.0}
    check = Check({}, True, 400, {"campaigns": [campaign], "false_alarms": 0.05})
    (post,) = published(database, settings, [(number, check)])
    blocks = shown_blocks(post)
    (button,) = next(block for block in blocks if block["type"] == "actions")["elements"]
    assert (button["action_id"], button["value"]) == (action_ids.STOP_CAMPAIGN, "c1:3")
    assert "5 of 100" in json.dumps(blocks)


def test_check_is_due_daily_and_after_a_sweep_but_never_in_quiet_hours(database, settings):
    def due(at):
        with database.transaction() as session:
            key = due_alerts.check_due(session, at)
            if key:
                jobs.submit_due(session, AlertCheck(), key)
            return key is not None

    assert not due(NOON)  # there is no alert
    add(database, settings, "one")
    assert due(NOON)
    assert not due(NOON + timedelta(hours=1))
    world.add(database, world.cohort(settings, "s1", NOON, created_at=NOON))
    assert due(NOON + timedelta(hours=2))
    tonight, morning = NOON + timedelta(hours=11), NOON + timedelta(hours=20)
    assert not due(tonight)
    assert read(database, due_alerts.next_check, tonight) == morning
    assert due(morning)


def test_names_are_unique_and_errors_name_the_nearest(database, settings):
    add(database, settings, "vip-risk")
    with pytest.raises(Conflict, match="already"):
        add(database, settings, "VIP-risk")
    with pytest.raises(BadInput, match="audience"):
        add(database, settings, "x", "model decayed", audience="loyal")
    with pytest.raises(BadInput, match="vip-risk"):
        read(database, store.find, "vip-rsk")
    change(database, store.remove, "vip-risk", ADMIN)
    assert scalars(database, select(Alert)) == []


def test_tick_checks_alerts_and_posts_the_entry_once(shop_copy):
    settings, database = shop_copy.settings, shop_copy.database

    def ticked(at) -> list[str]:
        clock.configure(fixed=at)
        tick.tick(database)
        queued = Job.kind == "alert_check", Job.state == "queued"
        for job_id in scalars(database, select(Job.id).where(*queued)):
            assert runner.run_job(database, job_id, "t") == "done"
        return scalars(database, select(Outbox.key).where(Outbox.key.startswith("alerts:")))

    start = shop_copy.end - timedelta(days=9, hours=-12)
    clock.configure(fixed=start)
    add(database, settings, "silent")
    assert ticked(start) == []
    (message,) = ticked(start + timedelta(days=3))
    assert ticked(start + timedelta(days=3, minutes=5)) == [message]
