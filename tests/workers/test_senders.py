"""Test that people hear once of a sender of live events that goes silent."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.connect import inbox, senders, sources
from retention.db.tables import EventBatch, LiveSender, Outbox
from tests.bot.wire import words
from tests.workers.harness import CHANNEL
from workers import schedule
from workers.senders import back_posts

BEGIN = datetime(2025, 7, 7, tzinfo=UTC)  # a Monday
HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


@pytest.fixture
def shop(settings, database):
    """A source whose channel owns what the shop sends."""
    new = sources.NewSource(
        "shop", "files", "/srv/*.csv", "hour", "UTC", BEGIN + 9 * WEEK, channel=CHANNEL
    )
    with database.transaction() as session:
        sources.add(session, settings, new, by="U1")


def send(database, settings, begin, hours, name="erp") -> datetime:
    """Send in each of some hours of a day; return the last time."""
    with database.transaction() as session:
        for number in hours:
            at = begin + number * HOUR + timedelta(minutes=7)
            back = senders.note(session, settings, {name}, at)
            for post in back_posts(session, settings, back, at):
                schedule.outbox.put(session, settings, post, default_channel=None)
    return at


def tick(database, settings, at) -> list[str]:
    """Let a moment come; return all messages."""
    clock.configure(fixed=at)
    schedule.tick(database, settings)
    with database.reading() as session:
        rows = session.scalars(select(Outbox).order_by(Outbox.id)).all()
    assert {row.channel for row in rows} <= {CHANNEL}
    return [words(row.payload["blocks"]) for row in rows]


@pytest.mark.usefixtures("shop")
def test_silence_after_a_week_of_hourly_events_is_reported_once(settings, database):
    last = send(database, settings, BEGIN, range(7 * 24))
    with database.reading() as session:
        due = senders.next_check(session, settings, last)
        assert schedule.next_due(session, settings, last) == due
    assert last + 3 * HOUR < due < last + 4 * HOUR
    assert tick(database, settings, last + 2 * HOUR) == []
    (message,) = tick(database, settings, due)
    assert "erp has sent no live event since" in message.replace("*", "")
    assert len(tick(database, settings, last + 3 * WEEK)) == 1
    send(database, settings, last + 3 * WEEK, [1, 2])
    assert "erp" in tick(database, settings, last + 3 * WEEK + 3 * HOUR)[1]
    assert len(tick(database, settings, last + 3 * WEEK + 3 * HOUR)) == 2


@pytest.mark.usefixtures("shop")
def test_quiet_nights_and_senders_that_were_only_tried_are_no_silence(settings, database):
    by_day = [24 * day + hour for day in range(8) for hour in range(8, 20)]
    send(database, settings, BEGIN, by_day)
    send(database, settings, BEGIN, range(30), name="tried")
    morning = BEGIN + 8 * 24 * HOUR + 8 * HOUR
    assert tick(database, settings, morning) == []
    assert len(tick(database, settings, morning + 2 * HOUR)) == 1


@pytest.mark.usefixtures("shop")
def test_nobody_is_silent_while_events_wait_for_the_lake(settings, database):
    last = send(database, settings, BEGIN, range(7 * 24))
    with database.transaction() as session:
        old = clock.wall() - HOUR
        batch = EventBatch(kind="events", rows=1, body=inbox.pack([{}]), received_at=old)
        session.add(batch)
    assert tick(database, settings, last + 9 * HOUR) == []


def test_number_of_senders_is_bounded(settings, database):
    with database.transaction() as session:
        for number in range(2 * senders.MAX_SENDERS):
            senders.note(session, settings, {f"sender-{number}"}, BEGIN)
        assert len(session.scalars(select(LiveSender)).all()) == senders.MAX_SENDERS


def test_first_admin_hears_of_it_where_no_channel_owns_events(settings, database):
    from workers.senders import owner

    own = settings.model_copy(update={"admins": "U0ADMIN"})
    with database.reading() as session:
        assert owner(session, own) == "U0ADMIN"
