"""The time machine: moves business time through every due moment in order, and waits for its work.

At each moment the real events up to it come in first, then the clock moves, then what is due is started, and only
when all of that is done does time go on. So a digest due on Monday sees Sunday's orders, and nothing is leapt over.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from retention import clock
from retention.db import Database
from retention.db.tables import BusinessClock, Job
from retention.errors import BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext
from workers import jobs, roles, schedule
from workers.requests import DemoFeed

LONGEST = timedelta(days=92)
POLL, PATIENCE = 0.15, 900.0  # seconds: between looks at the queue, and for one moment's work
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Journey:
    """Where time stands after an advance, and the moments it stopped at."""

    now: datetime
    moments: tuple[datetime, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "now": self.now.isoformat(),
            "moments": [one.isoformat() for one in self.moments],
            "seconds": round(self.seconds, 1),
        }


class TimeMachine:
    """Advances business time, one journey at a time.

    Parameters
    ----------
    tell : callable
        Hears where the journey stands: ``{"type": "clock", "now", "target", "what", "stepping"}``.
    """

    def __init__(self, settings: Settings, database: Database, tell: Tell) -> None:
        self.settings, self.database, self.tell = settings, database, tell
        self._moving = threading.Lock()

    def state(self) -> dict[str, Any]:
        """``{"now", "stepping"}``."""
        return {"now": clock.now().isoformat(), "stepping": self._moving.locked()}

    def advance(self, by: timedelta) -> Journey:
        """Step through every due moment of the span, in order; returns when the last one's work is done.

        Raises
        ------
        BadInput
            Longer than 92 days, or not forward, or `RETENTION_NOW` holds the clock.
        Conflict
            Time is already moving, or the work of a moment does not come to an end.
        """
        if not timedelta() < by <= LONGEST:
            raise BadInput(
                gettext("advance is {days} days; use 1h to {days_2}d.").format(
                    days=by.days, days_2=LONGEST.days
                )
            )
        if self.settings.now:
            raise BadInput(
                gettext("RETENTION_NOW fixes business time; unset it to use the time machine.")
            )
        if not self._moving.acquire(blocking=False):
            raise Conflict(gettext("Time is already moving; wait until it has arrived."))
        began = time.monotonic()
        try:
            moments = tuple(self._travel(clock.now() + by))
        finally:
            self._moving.release()
            self.tell({"type": "clock", **self.state()})
        return Journey(clock.now(), moments, time.monotonic() - began)

    def _travel(self, target: datetime) -> Any:
        here = clock.now()
        self._wait_until_idle(target)
        while (moment := self._next_due(here)) and here < moment < target:
            self._step(moment, target)
            yield moment
            here = moment
        self._step(target, target)
        yield target

    def _next_due(self, after: datetime) -> datetime | None:
        with self.database.reading() as session:
            return schedule.next_due(session, self.settings, after)

    def _step(self, moment: datetime, target: datetime) -> None:
        self._say(
            target,
            f"bringing in the orders up to {moment.astimezone(self.settings.zone):%a %d %b, %H:%M}",
        )
        self._feed(moment)
        with self.database.transaction() as session:
            offset = (moment - clock.wall()).total_seconds()
            session.merge(BusinessClock(team_id=self.settings.team_id, offset_seconds=offset))
        schedule.tick(self.database, self.settings)
        self._wait_until_idle(target)
        # A campaign that has just gone live has copies to send at this very moment.
        if schedule.tick(self.database, self.settings):
            self._wait_until_idle(target)

    def _feed(self, until: datetime) -> None:
        with self.database.transaction() as session:
            submitted = jobs.submit(
                session,
                self.settings,
                DemoFeed(until=until),
                requested_by=roles.OPERATOR,
                channel=None,
                idem_key=f"demo:feed:{until.isoformat()}",
                announce=False,
            )
        jobs.wake(self.settings, submitted.job)
        self._wait(
            lambda: self._state_of(submitted.job.id) not in jobs.OPEN,
            "the week's orders to come in",
        )
        if (state := self._state_of(submitted.job.id)) != "done":
            raise Conflict(
                gettext(
                    "The orders up to {until:%d %b %Y} could not be brought in: job {id} {state}."
                ).format(until=until, id=submitted.job.id, state=state)
            )

    def _state_of(self, job_id: str) -> str:
        with self.database.reading() as session:
            job = session.get(Job, job_id)
            return job.state if job else "gone"

    def _wait_until_idle(self, target: datetime) -> None:
        def idle() -> bool:
            with self.database.reading() as session:
                busy = jobs.open_jobs(session, self.settings)
                quiet = not busy and schedule.is_idle(session)
            if busy:
                self._say(target, jobs.title(busy[0].kind).lower())
            return quiet

        self._wait(idle, "the work that is due")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > until:
                raise Conflict(
                    gettext("Waited {patience:.0f} s for {what}; see `/retention jobs`.").format(
                        patience=PATIENCE, what=what
                    )
                )
            time.sleep(POLL)

    def _say(self, target: datetime, what: str) -> None:
        self.tell({"type": "clock", **self.state(), "target": target.isoformat(), "what": what})


def span(text: str) -> timedelta:
    """``7d``, ``2w`` or ``12h``.

    Raises
    ------
    BadInput
        Anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,4})\s*([hdw])\s*", text.lower())
    if not match:
        raise BadInput(
            gettext("advance is {text!r}; write it like 1d, 7d or 12h.").format(text=text)
        )
    hours = {"h": 1, "d": 24, "w": 168}[match[2]]
    return timedelta(hours=int(match[1]) * hours)
