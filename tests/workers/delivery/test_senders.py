"""Test that people hear once of a sender of live events that goes silent."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.connect.live import inbox, silent_senders
from retention.connect.sources import source_records
from retention.db.tables import EventBatch, LiveSender, Outbox
from tests.bot.wire import words
from tests.workers.harness import CHANNEL
from tests.world import change, read, scalars
from workers.data.source_pulls import back_posts, owner
from workers.schedule import tick as schedule

BEGIN = datetime(2025, 7, 7, tzinfo=UTC)  # a Monday
HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


@pytest.fixture
def shop(database):
    """A source whose channel owns what the shop sends."""
    new = source_records.NewSource(
        "shop", "files", "/srv/*.csv", "hour", "UTC", BEGIN + 9 * WEEK, channel=CHANNEL
    )
    change(database, source_records.add, new, by="U1")


def send(database, begin, hours, name="erp") -> datetime:
    """Send in each of some hours of a day; return the last time."""
    with database.transaction() as session:
        for number in hours:
            at = begin + number * HOUR + timedelta(minutes=7)
            back = silent_senders.note(session, {name}, at)
            for post in back_posts(session, back, at):
                schedule.outbox.put(session, post, default_channel=None)
    return at


def tick(database, at) -> list[str]:
    """Let a moment come; return all messages."""
    clock.configure(fixed=at)
    schedule.tick(database)
    rows = scalars(database, select(Outbox).order_by(Outbox.id))
    assert {row.channel for row in rows} <= {CHANNEL}
    return [words(row.payload["blocks"]) for row in rows]


@pytest.mark.usefixtures("shop")
def test_silence_after_a_week_of_hourly_events_is_reported_once(database):
    last = send(database, BEGIN, range(7 * 24))
    due = read(database, silent_senders.next_check, last)
    assert read(database, schedule.next_due, last) == due
    assert last + 3 * HOUR < due < last + 4 * HOUR
    assert tick(database, last + 2 * HOUR) == []
    (message,) = tick(database, due)
    assert "erp has sent no live event since" in message.replace("*", "")
    assert len(tick(database, last + 3 * WEEK)) == 1
    send(database, last + 3 * WEEK, [1, 2])
    assert "erp" in tick(database, last + 3 * WEEK + 3 * HOUR)[1]
    assert len(tick(database, last + 3 * WEEK + 3 * HOUR)) == 2


@pytest.mark.usefixtures("shop")
def test_quiet_nights_and_senders_that_were_only_tried_are_no_silence(database):
    by_day = [24 * day + hour for day in range(8) for hour in range(8, 20)]
    send(database, BEGIN, by_day)
    send(database, BEGIN, range(30), name="tried")
    morning = BEGIN + 8 * 24 * HOUR + 8 * HOUR
    assert tick(database, morning) == []
    assert len(tick(database, morning + 2 * HOUR)) == 1


@pytest.mark.usefixtures("shop")
def test_nobody_is_silent_while_events_wait_for_the_lake(database):
    last = send(database, BEGIN, range(7 * 24))
    with database.transaction() as session:
        old = clock.wall() - HOUR
        batch = EventBatch(kind="events", rows=1, body=inbox.pack([{}]), received_at=old)
        session.add(batch)
    assert tick(database, last + 9 * HOUR) == []


def test_number_of_senders_is_bounded(database):
    with database.transaction() as session:
        for number in range(2 * silent_senders.MAX_SENDERS):
            silent_senders.note(session, {f"sender-{number}"}, BEGIN)
        assert len(session.scalars(select(LiveSender)).all()) == silent_senders.MAX_SENDERS


def test_first_admin_hears_of_it_where_no_channel_owns_events(settings, database):
    own = database.using(settings.model_copy(update={"admins": "U0ADMIN"}))
    assert read(own, owner) == "U0ADMIN"
