"""Threads of Slack: where an answer goes, and what a conversation is about.

An answer to a person's message has no outbox row as its parent. Its ``thread_key`` names the
message itself: ``ts:CHANNEL:TS``.
"""

import re
import shlex
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, or_, select

from retention import clock
from retention.db import Transaction
from retention.db.tables import Campaign, Cohort, Job, Outbox, Thread
from retention.privacy import pseudonym
from retention.settings import Settings

_KEY = re.compile(r"ts:([CDG][A-Z0-9]+):(\d+\.\d+)")
_FIRST_ROWS = re.compile(r"customers\.(?:list|\w+\.1)")  # block id of a list's first table
_JOB_KEY = re.compile(r"job:([0-9a-f]+)(?::.*)?")


@dataclass(frozen=True, slots=True)
class Topic:
    """What a thread is about: its last command line, and ids. ``customer`` is a pseudonym."""

    command: str | None = None
    cohort: str | None = None
    customer: str | None = None
    campaign: str | None = None
    customers: tuple[str, ...] = ()  # of the newest list, in its order


def thread_key(channel: str, ts: str) -> str:
    """Return the key of a thread below any message.

    `ts`: time stamp of the thread's first message.
    """
    return f"ts:{channel}:{ts}"


def place_of(key: str | None) -> tuple[str, str] | None:
    """Return channel and time stamp of such a key; None for an outbox key."""
    match = _KEY.fullmatch(key or "")
    return (match[1], match[2]) if match else None


def remember(session: Transaction, channel: str, ts: str, command: str, job_id: str | None) -> None:
    """Store the last command of a thread."""
    row = session.get(Thread, (session.settings.team_id, channel, ts))
    if row is None:
        row = Thread(team_id=session.settings.team_id, channel=channel, ts=ts)
        session.add(row)
    row.command, row.job_id = command, job_id or row.job_id
    row.customer, row.campaign_id = (
        _named(command, r"(?:score|recommend) (\S+)") or row.customer,
        _named(command, r"campaign \w+ (c\w{6})\b") or row.campaign_id,
    )
    row.updated_at = clock.wall()


def _named(command: str, pattern: str) -> str | None:
    match = re.match(pattern, command)
    return match[1] if match else None


def is_known(session: Transaction, channel: str, ts: str) -> bool:
    """Return whether the bot wrote the thread's first message, or ran a command in the thread."""
    if session.get(Thread, (session.settings.team_id, channel, ts)) is not None:
        return True
    return session.scalar(_root(session, Outbox.id, channel, ts).limit(1)) is not None


def _root(session: Transaction, column: Any, channel: str, ts: str) -> Select[Any]:
    """Return the query for our message at a place."""
    place = or_(Outbox.channel == channel, Outbox.channel_id == channel)
    return select(column).where(Outbox.team_id == session.settings.team_id, Outbox.ts == ts, place)


def topic_of(session: Transaction, channel: str, ts: str) -> Topic:
    """Return what a thread is about."""
    row = session.get(Thread, (session.settings.team_id, channel, ts))
    root = session.scalars(_root(session, Outbox, channel, ts)).first()
    campaign = None
    job_ids = [row.job_id] if row and row.job_id else []
    if root is not None:
        campaign = session.scalar(select(Campaign.id).where(Campaign.post_key == root.key))
        if match := _JOB_KEY.fullmatch(root.key):
            job_ids.append(match[1])
    root_job = session.get(Job, job_ids[-1]) if root is not None and job_ids else None
    keys = [f"job:{job_id}" for job_id in job_ids]
    in_thread = select(Job.id).where(Job.thread_key == thread_key(channel, ts))
    cohort = session.scalar(
        select(Cohort.id)
        .where(or_(Cohort.job_id.in_(job_ids), Cohort.job_id.in_(in_thread)))
        .order_by(Cohort.created_at.desc())
        .limit(1)
    )
    drafted = session.scalar(
        select(Campaign.id)
        .where(
            or_(
                Campaign.post_key.in_(keys),
                Campaign.post_key.in_(select("job:" + Job.id).where(Job.id.in_(in_thread))),
            )
        )
        .order_by(Campaign.created_at.desc())
        .limit(1)
    )
    command = _command_of(session.settings, root_job) if root_job else None
    in_order = [thread_key(channel, ts), *([root.key] if root else [])]
    return Topic(
        command=(row.command if row else None) or command,
        cohort=cohort,
        customer=(row.customer if row else None) or _customer_of(session.settings, root_job),
        campaign=(row.campaign_id if row else None) or drafted or campaign,
        customers=_listed(session, in_order),
    )


def _listed(session: Transaction, keys: list[str]) -> tuple[str, ...]:
    """Return the pseudonyms of the newest list among a thread's messages."""
    messages = (
        select(Outbox.payload)
        .where(
            Outbox.team_id == session.settings.team_id,
            or_(Outbox.thread_key.in_(keys), Outbox.key.in_(keys)),
        )
        .order_by(Outbox.id.desc())
    )
    for payload in session.scalars(messages):
        for block in payload.get("blocks", ()):
            if _FIRST_ROWS.fullmatch(str(block.get("block_id", ""))):
                return tuple(row[0]["text"] for row in block["rows"][1:])
    return ()


def job_of(session: Transaction, channel: str, ts: str) -> Job | None:
    """Return the job whose message this is, if it is one."""
    key = session.scalar(_root(session, Outbox.key, channel, ts))
    match = _JOB_KEY.fullmatch(key or "")
    return session.get(Job, match[1]) if match else None


def _customer_of(settings: Settings, job: Job | None) -> str | None:
    customer = (job.args or {}).get("customer_id") if job else None
    return pseudonym(settings.key, customer) if customer else None


def _command_of(settings: Settings, job: Job) -> str | None:
    """Return the command line of a job that a sentence can refer to."""
    args: dict[str, Any] = job.args or {}
    if job.kind == "sweep":
        parts = ["sweep"]
        parts += [f"--tier {args['tier']}"] if args.get("tier") else []
        parts += [f"--top {args['top']}"] if args.get("top") else []
        limits = {name: args[name] for name in ("audience", "where", "by") if args.get(name)}
        parts += [f"--{name} {shlex.quote(value)}" for name, value in limits.items()]
        return " ".join(parts)
    if job.kind in ("score", "recommend"):
        return f"{job.kind} {_customer_of(settings, job)}"
    return {"campaign_draft": "campaign draft", "cohort": "cohort", "digest": "digest now"}.get(
        job.kind
    )
