"""Test how many calls a channel gets, and when."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from retention import clock
from tests.workers.harness import ADMIN, CHANNEL, row
from workers.delivery import outbox
from workers.delivery.row_delivery import Claim, SentMessage
from workers.delivery.sender import Pacing, Sender
from workers.delivery.slack_client import RateLimitPause
from workers.tasks.interface import Post

PACING = Pacing(idle_wait=0.0)


class Time:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = clock.wall() + timedelta(minutes=1)

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def time(monkeypatch) -> Time:
    moving = Time()
    monkeypatch.setattr(clock, "wall", lambda: moving.now)
    return moving


class Calls:
    """Slack's end: the calls that arrive, by channel."""

    def __init__(self, time: Time) -> None:
        self.time, self.arrived = time, {CHANNEL: [], ADMIN: []}
        self.meanwhile: Callable[[], object] = lambda: None
        self.refused: set[str] = set()

    def deliver(self, claim: Claim) -> SentMessage:
        row = claim.row
        self.meanwhile()
        self.arrived[row.channel].append(self.time.now)
        if row.key in self.refused:
            self.refused.remove(row.key)
            raise RateLimitPause(1.0)
        return SentMessage(row.channel, row.ts or f"{row.id}.1", row.revision)


@pytest.fixture
def calls(time) -> Calls:
    return Calls(time)


def sender(database, calls: Calls, pacing: Pacing = PACING) -> Sender:
    made = Sender(database, pacing=pacing)
    made._transport.deliver = calls.deliver
    return made


def put(database, *keys: str, channel: str = CHANNEL, thread_key=None) -> None:
    with database.transaction() as session:
        for key in keys:
            post = Post("job/refused", {"sentence": key}, key=key, thread_key=thread_key)
            outbox.put(session, post, default_channel=channel)


def most_in_a_window(arrived: list[datetime], pacing: Pacing) -> float:
    """Return by how many calls a window exceeds ``burst + t / channel_gap``, at most."""
    return max(
        (later - earlier + 1)
        - (arrived[later] - arrived[earlier]).total_seconds() / pacing.channel_gap
        - pacing.burst
        for earlier in range(len(arrived))
        for later in range(earlier, len(arrived))
    )


@pytest.mark.nightly_after(3)
@pytest.mark.parametrize("seed", range(12))
def test_no_window_has_more_calls_than_burst_and_pace(database, time, calls, seed):
    """Whatever the delays, refusals and updates, with two senders at work."""
    chance = random.Random(seed)
    pacing = Pacing(burst=chance.choice([1, 2, 4, 6]), channel_gap=chance.choice([0.5, 1.05]))
    senders = [sender(database, calls, pacing) for _ in range(2)]
    keys = [f"k{number}" for number in range(12)]
    put(database, *keys)
    put(database, *(f"to {key}" for key in keys), channel=ADMIN)
    calls.refused = set(chance.sample(keys, 2))
    other = chance.choice(senders)

    def upload() -> None:
        calls.meanwhile = lambda: None
        other.step()
        time.pass_by(chance.choice([0.0, 0.1, 2.0]))
        calls.meanwhile = upload

    calls.meanwhile = upload
    for _ in range(80):
        if not chance.choice(senders).step():
            time.pass_by(chance.choice([0.05, 0.3, 3.0]))
        if chance.random() < 0.3:
            put(database, chance.choice(keys))  # another revision
    for arrived in calls.arrived.values():
        assert len(arrived) >= len(keys)
        assert most_in_a_window(arrived, pacing) < 1e-6


def test_rested_channel_gets_a_burst_and_then_one_call_per_gap(database, time, calls):
    ours = sender(database, calls)
    put(database, *(f"k{number}" for number in range(7)))
    put(database, "elsewhere", channel=ADMIN)
    while ours.step():
        pass
    assert {place: len(arrived) for place, arrived in calls.arrived.items()} == {
        CHANNEL: PACING.burst,
        ADMIN: 1,
    }
    steps = []
    for _ in range(4):
        time.pass_by(PACING.channel_gap / 2)
        steps.append(ours.step())
    assert steps == [False, True, False, True]


def test_replies_follow_their_message_within_the_burst(database, time, calls):
    """A digest and the details in its thread appear together."""
    put(database, "digest")
    put(database, "details", "report", thread_key="digest")
    ours = sender(database, calls)
    assert [ours.step() for _ in range(4)] == [True, True, True, False]
    assert row(database, "report").thread_ts == row(database, "digest").ts


def test_refusal_uses_up_the_burst_for_every_sender(database, time, calls):
    put(database, "k0", "k1", "k2", "k3")
    calls.refused = {"k0"}
    assert sender(database, calls).step()
    assert row(database, "k0").state == "rate_limited"
    second = sender(database, calls)
    time.pass_by(PACING.channel_gap)
    assert [second.step(), second.step()] == [True, False]
