"""Test the time machine: moments in order, data first, work finished."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from bot.playground.timemachine import TimeMachine, local_span, parse_duration
from retention import clock
from retention.db.tables import BusinessClock, Campaign, Job, Outbox, RoleGrant, Send
from retention.errors import BadInput, Conflict
from tests.bot.wire import stored
from tests.retention.campaigns.samples import a_body
from tests.workers.harness import set_job, wait
from tests.world import add, change, execute, model_version, one
from workers.job_requests import Digest, Monitor
from workers.queue import jobs
from workers.retrain_request import Retrain
from workers.schedule import tick
from workers.schedule.cadence import Cadence

MONDAY = datetime(2017, 10, 2, 13, tzinfo=UTC)  # 9 o'clock in New York


def is_just_after(at: datetime, due: datetime) -> bool:
    return timedelta() <= at - due < timedelta(minutes=1)


def submit(session, request, user: str, channel: str | None) -> Job:
    place = {"requested_by": user, "channel": channel}
    return jobs.submit(session, request, **place, idem_key=request.kind, announce=False).job


@pytest.fixture
def machine(database, settings, monkeypatch):
    """Monday 9:00, a digest each Monday 9:00, no broker; a thread acts as the workers."""
    monkeypatch.setattr(jobs, "wake", lambda *_: True)
    offset = (MONDAY - clock.wall()).total_seconds()
    add(database, BusinessClock(team_id=settings.team_id, offset_seconds=offset))
    add(database, RoleGrant(user_id="U0ANALYST", role="analyst", granted_by="U0ADMIN"))
    cadence, zone = Cadence("09:00", weekday=0), "America/New_York"
    # Its first run is by the clock that is stored now.
    change(database, tick.add, Digest(), cadence, zone, channel="C0CRM", by="U0ANALYST")
    result: list[dict] = []
    created = TimeMachine(database, result.append)
    created.told = result
    return created


@pytest.fixture
def worked(database):
    """The fake worker's jobs as (kind, business time).

    It fails the kinds in ``fails``, calls a hook for others, and leaves a kind alone while its
    function in ``waits`` is true.
    """
    done: list[tuple[str, datetime]] = []
    stop, fails, does, waits = threading.Event(), set(), {}, {}

    def work() -> None:
        while not stop.wait(0.02):
            left = [kind for kind, is_waiting in waits.items() if is_waiting()]
            ready = Job.state == "queued", Job.kind.not_in(left)
            with database.transaction() as session:
                for job in session.scalars(select(Job).where(*ready).order_by(Job.created_at)):
                    done.append((job.kind, clock.now()))
                    does.get(job.kind, lambda _: None)(session)
                    state = "failed" if job.kind in fails else "done"
                    session.execute(update(Job).where(Job.id == job.id).values(state=state))

    thread = threading.Thread(target=work)
    thread.start()
    kinds = lambda: [kind for kind, _ in done]  # noqa: E731
    yield SimpleNamespace(done=done, kinds=kinds, fails=fails, does=does, waits=waits)
    stop.set()
    thread.join()


def test_stops_at_each_due_moment_after_importing_its_data(machine, worked, database) -> None:
    journey = machine.advance(timedelta(days=15))
    weeks = [MONDAY + timedelta(days=7 * week) for week in (1, 2)]
    assert list(journey.moments[:2]) == weeks
    assert len(journey.moments) == 3
    assert worked.kinds() == ["demo_feed", "digest", "demo_feed", "digest", "demo_feed"]
    digests = [at for kind, at in worked.done if kind == "digest"]
    assert all(is_just_after(at, due) for at, due in zip(digests, weeks, strict=True))
    assert is_just_after(clock.now(), MONDAY + timedelta(days=15))
    fed = sorted(job.args["until"] for job in stored(database, Job, Job.kind == "demo_feed"))
    assert [datetime.fromisoformat(until) for until in fed[:2]] == weeks
    assert datetime.fromisoformat(fed[2]) - MONDAY >= timedelta(days=15)


@pytest.fixture
def campaign_due(machine, worked, database) -> datetime:
    """When a campaign goes live, with one e-mail to send."""
    due = MONDAY + timedelta(hours=4)
    campaign = {"name": "May", "state": "scheduled", "send_at": due, "post_key": "p", "salt": "s"}
    people = {"drafted_by": "U0ANALYST", "decided_by": "U0LEAD"}
    body = a_body().model_dump(mode="json")
    add(database, RoleGrant(user_id="U0LEAD", role="approver", granted_by="U0ADMIN"))
    add(database, Campaign(id="c1", body=body, **campaign, **people))

    def live(session) -> None:
        session.get_one(Campaign, "c1").state = "live"
        email = {"channel": "email", "state": "queued", "queued_at": due}
        session.add(Send(campaign_id="c1", customer_id="k", **email))

    def sent(session) -> None:
        session.execute(update(Send).values(state="sent"))

    worked.does |= {"campaign_send": live, "campaign_deliver": sent}
    return due


def test_emails_are_due_when_their_campaign_goes_live(
    machine, worked, database, campaign_due
) -> None:
    """They went out at the next due moment, days later."""
    machine.advance(timedelta(days=3))
    (went_live,) = (at for kind, at in worked.done if kind == "campaign_send")
    job = one(database, select(Job).where(Job.kind == "campaign_deliver"))
    was_due = job.created_at.replace(tzinfo=UTC) + timedelta(seconds=job.args["clock_offset"])
    assert is_just_after(went_live, campaign_due)
    assert abs(was_due - campaign_due) < timedelta(minutes=1)
    assert job.state == "done"


def test_time_moves_on_while_emails_are_sent(machine, worked, database, campaign_due) -> None:
    is_sent = threading.Event()
    worked.waits["campaign_deliver"] = lambda: not is_sent.is_set()
    machine.advance(timedelta(days=7, hours=1), waits=False)
    assert "digest" in worked.kinds()
    assert "campaign_deliver" not in worked.kinds()
    is_sent.set()


def test_next_import_begins_while_messages_are_posted(machine, worked) -> None:
    """The clock waits for the messages, because they show its time."""
    began = []

    def post(session) -> None:
        session.add(Outbox(key="digest", channel="C0CRM", payload={}))

    def import_orders(session) -> None:
        began.append(clock.now())
        session.execute(update(Outbox).values(state="sent"))

    worked.does |= {"digest": post, "demo_feed": import_orders}
    machine.advance(timedelta(days=8))
    assert is_just_after(began[1], MONDAY + timedelta(days=7))


def test_advance_ends_when_all_messages_are_posted(machine, worked) -> None:
    steps = []

    def post(session) -> None:
        session.add(Outbox(key="digest", channel="C0CRM", payload={}))
        threading.Thread(target=deliver).start()

    def deliver() -> None:
        wait(lambda: machine.state().get("what") == "posting the messages")
        steps.append("posted")
        with machine.database.transaction() as session:
            session.execute(update(Outbox).values(state="sent"))

    worked.does["digest"] = post
    machine.advance(timedelta(days=7, minutes=20))
    assert steps == ["posted"]


def test_button_does_not_wait_for_the_last_digest(machine, worked) -> None:
    """The page shows the week, and the digest fills in."""
    is_read = threading.Event()
    worked.waits["digest"] = lambda: not is_read.is_set()
    machine.advance(timedelta(days=7, minutes=20), waits=False)
    assert worked.kinds() == ["demo_feed"]
    assert clock.now() >= MONDAY + timedelta(days=7, minutes=20)
    wait(lambda: machine.state().get("what") == "preparing the digest")
    assert machine.state()["stepping"] is False
    is_read.set()
    wait(lambda: "what" not in machine.state())
    assert worked.kinds() == ["demo_feed", "digest"]


def test_model_check_is_no_moment_of_its_own(machine, worked, database) -> None:
    """A button waited for the digest, and imported twice, where a check was due just after it."""
    promoted = MONDAY + timedelta(minutes=5)
    add(database, model_version(database.settings, state="champion", promoted_at=promoted))
    is_read = threading.Event()
    worked.waits["digest"] = lambda: not is_read.is_set()
    journey = machine.advance(timedelta(days=7, minutes=20), waits=False)
    assert len(journey.moments) == 2
    is_read.set()
    wait(lambda: {"digest", "monitor"} <= {*worked.kinds()})
    assert worked.kinds().count("demo_feed") == 1


def test_button_waits_for_work_of_earlier_moments(machine, worked) -> None:
    machine.advance(timedelta(days=14, minutes=20), waits=False)
    assert worked.kinds()[:3] == ["demo_feed", "digest", "demo_feed"]


def test_progress_arrival_and_seconds_of_each_step_are_told(machine, worked) -> None:
    worked.waits["digest"] = lambda: machine.state().get("what") != "preparing the digest"
    steps = machine.advance(timedelta(days=7, hours=1)).as_dict()["steps"]
    assert all(event["type"] == "clock" for event in machine.told)
    assert [event["stepping"] for event in machine.told][-2:] == [True, False]
    assert any("orders up to Mon 09 Oct" in event.get("what", "") for event in machine.told)
    assert any("importing the orders up to Mon 09 Oct" in what for what in steps)
    assert "preparing the digest" in steps


def test_minutes_after_the_last_stop_need_no_import_of_their_own(machine, worked) -> None:
    journey = machine.advance(timedelta(days=7, minutes=20))
    assert len(journey.moments) == 2
    assert worked.kinds() == ["demo_feed", "digest"]
    machine.advance(timedelta(days=1))
    assert worked.kinds() == ["demo_feed", "digest", "demo_feed"]


def test_page_opened_meanwhile_sees_the_step(machine, worked) -> None:
    seen = []
    worked.does["digest"] = lambda _: seen.append(machine.state())
    machine.advance(timedelta(days=7, minutes=20))
    assert seen[0]["stepping"]
    assert seen[0]["what"]
    assert datetime.fromisoformat(seen[0]["target"]) > MONDAY + timedelta(days=7)
    assert "what" not in machine.state()


def test_training_does_not_delay_the_advance(machine, worked, database) -> None:
    training = change(database, submit, Retrain(), "U0ANALYST", "C0CRM")
    set_job(database, training.id, state="running")
    machine.advance(timedelta(days=7, hours=1))
    assert one(database, select(Job).where(Job.id == training.id)).state == "running"


def test_model_check_delays_only_the_next_advance(machine, worked, database) -> None:
    is_checked = threading.Event()
    worked.waits["monitor"] = lambda: not is_checked.is_set()

    def check_model(session) -> None:
        worked.does.clear()
        submit(session, Monitor(scheduled=True), "operator", None)

    worked.does["digest"] = check_model
    machine.advance(timedelta(days=7, hours=1))
    assert "monitor" not in worked.kinds()
    threading.Timer(0.2, is_checked.set).start()
    machine.advance(timedelta(hours=1))
    assert worked.kinds()[-2:] == ["monitor", "demo_feed"]


def test_failed_import_stops_the_advance(machine, worked) -> None:
    worked.fails.add("demo_feed")
    with pytest.raises(Conflict, match="could not be brought in"):
        machine.advance(timedelta(days=1))
    assert clock.now() - MONDAY < timedelta(minutes=1)
    assert machine.state()["stepping"] is False


def test_second_advance_is_refused_while_one_runs(machine, database, settings) -> None:
    first = threading.Thread(target=machine.advance, args=(timedelta(hours=1),))
    first.start()
    wait(lambda: machine.state()["stepping"])
    with pytest.raises(Conflict, match="already moving"):
        machine.advance(timedelta(hours=1))
    while first.is_alive():
        execute(database, update(Job).values(state="done"))
        first.join(0.05)


@pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("1d", 24), (" 2W ", 336)])
def test_parses_durations(text: str, hours: int) -> None:
    assert parse_duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "7", "week", "-1d", "1.5d"])
def test_invalid_duration_explains_the_format(text: str) -> None:
    with pytest.raises(BadInput, match="write it like"):
        parse_duration(text)


@pytest.mark.parametrize("days", [0, 93])
def test_refuses_negative_and_too_long_advances(machine, days: int) -> None:
    with pytest.raises(BadInput, match="advance is"):
        machine.advance(timedelta(days=days))


def test_whole_days_keep_the_local_hour_when_clocks_change() -> None:
    """A week over the change of clocks ended at 8:07, before the digest of Monday 9:00."""
    zone = ZoneInfo("America/New_York")
    before = datetime(2017, 10, 30, 9, 6, tzinfo=zone).astimezone(UTC)
    after = before + local_span(timedelta(days=7), before, zone)
    assert f"{after.astimezone(zone):%d %H:%M}" == "06 09:06"
    assert local_span(timedelta(hours=12), before, zone) == timedelta(hours=12)
    assert local_span(timedelta(days=7), after, zone) == timedelta(days=7)
