"""Move business time and wait for its work.

At each moment the real events up to it are imported, then the clock moves, then the due work
starts. Time goes on when that is done, but for trainings, e-mails, files, results and checks. So
a digest on Monday includes Sunday's orders, and no moment is skipped. The next import begins while
a moment's messages are posted. The page's buttons wait for no work of the last moment: its digest
arrives while people read.
"""

import asyncio
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from retention import clock
from retention.db import Database
from retention.db.tables import BusinessClock, Job
from retention.errors import BadInput, Conflict, Refused
from retention.text import gettext
from workers.app import TRAINING
from workers.delivery import outbox
from workers.job_requests import DemoFeed, title_of
from workers.queue import jobs
from workers.schedule import tick

MAX_ADVANCE = timedelta(days=92)
SOON = timedelta(hours=1)
# It reports by itself if something is wrong.
MONITOR = frozenset({"monitor"})
# No later moment needs these. They keep the business time at which they were due.
BESIDE = frozenset({"campaign_deliver", "campaign_csv", "campaign_measure", "shop_reconcile"})
BACKGROUND = BESIDE | MONITOR
POLL_SECONDS, WAIT_SECONDS = 0.05, 900.0  # between looks at the queue; for one moment's work
Notify = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Advance:
    """The new time, the stops before it, and the seconds of each step."""

    now: datetime
    moments: tuple[datetime, ...]
    seconds: float
    steps: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "now": self.now.isoformat(),
            "moments": [moment.isoformat() for moment in self.moments],
            "seconds": round(self.seconds, 1),
            "steps": {what: round(seconds, 1) for what, seconds in self.steps.items()},
        }


class TimeMachine:
    """Advances business time, one advance at a time.

    `notify`: receives the progress: ``{"type": "clock", "now", "target", "what", "stepping"}``.
    """

    def __init__(self, database: Database, notify: Notify) -> None:
        self.settings, self.database, self.notify = database.settings, database, notify
        self._moving, self._closed = threading.Lock(), threading.Event()
        self._steps: dict[str, float] = {}
        self._step_began: tuple[str, float] | None = None
        self._target: datetime | None = None

    def close(self) -> None:
        """End an advance that waits, because nothing works any more."""
        self._closed.set()

    def state(self) -> dict[str, Any]:
        """Return ``{"now", "stepping"}``, and while time moves its ``target`` and ``what``."""
        state: dict[str, Any] = {"now": clock.now().isoformat(), "stepping": self._moving.locked()}
        step, target = self._step_began, self._target  # another thread moves them on
        if step and target:
            state |= {"target": target.isoformat(), "what": step[0]}
        return state

    def advance(self, span: timedelta, *, waits: bool = True) -> Advance:
        """Step through every due moment of the span.

        Return after the last one's work; without ``waits``, once its orders are there.

        Raises `BadInput`: the span is longer than 92 days or not positive, or `RETENTION_NOW` fixes
        the clock.
        """
        if not timedelta() < span <= MAX_ADVANCE:
            text = gettext("advance is {days} days; use 1h to {max_days}d.")
            raise BadInput(text.format(days=span.days, max_days=MAX_ADVANCE.days))
        if self.settings.now:
            raise BadInput(
                gettext("RETENTION_NOW fixes business time; unset it to use the time machine.")
            )
        if not self._moving.acquire(blocking=False):
            raise Conflict(gettext("Time is already moving; wait until it has arrived."))
        started, self._steps = time.monotonic(), {}
        try:
            moments = tuple(self._travel(clock.now() + span, waits))
        finally:
            self._end_step()
            self._moving.release()
            self.notify({"type": "clock", **self.state()})
        if not waits and self._works(clock.now(), MONITOR):
            threading.Thread(target=self._watch, daemon=True).start()
        return Advance(clock.now(), moments, time.monotonic() - started, self._steps)

    def _travel(self, target: datetime, waits: bool) -> Any:
        start = current = clock.now()
        self._wait_for_jobs(target, besides=BESIDE)  # so that checks never pile up
        while (moment := self._next_due(current)) and current < moment < target:
            is_last = target - moment < SOON and not self._is_due_between(moment, target)
            self._step(moment, target, waits=waits or not is_last)
            yield moment
            current = moment
        # Nothing is due just after the last stop: the next import brings these minutes, too.
        is_soon = current > start and target - current < SOON and moment != target
        self._step(target, target, imports=not is_soon, waits=waits)
        if waits:
            self._wait_for_jobs(target, besides=MONITOR)
            self._wait_until_posted(target)
        yield target

    def _is_due_between(self, start: datetime, end: datetime) -> bool:
        due = self._next_due(start)
        return due is not None and start < due < end

    def _next_due(self, after: datetime) -> datetime | None:
        with self.database.reading() as session:
            return tick.next_due(session, after)

    def _step(
        self, moment: datetime, target: datetime, *, imports: bool = True, waits: bool = True
    ) -> None:
        if imports:
            text = gettext("importing the orders up to {time}")
            self._report(
                target, text.format(time=f"{moment.astimezone(self.settings.zone):%a %d %b, %H:%M}")
            )
            self._feed(moment)
        # Messages show the time at which they are posted.
        self._wait_until_posted(target)
        with self.database.transaction() as session:
            offset = (moment - clock.wall()).total_seconds()
            session.merge(BusinessClock(team_id=self.settings.team_id, offset_seconds=offset))
        tick.tick(self.database)
        if not waits:
            return
        self._wait_for_jobs(target)
        # A campaign that went live just now has codes to make, then e-mails to send at this moment.
        for _ in range(2):
            if tick.tick(self.database):
                self._wait_for_jobs(target)

    def _feed(self, until: datetime) -> None:
        with self.database.transaction() as session:
            key = f"demo:feed:{until.isoformat()}"
            job = jobs.submit_due(session, DemoFeed(until=until), key).job
        jobs.wake(self.settings, job)
        self._wait(
            lambda: self._state_of(job.id) not in jobs.OPEN, gettext("the week's orders to come in")
        )
        if (state := self._state_of(job.id)) != "done":
            text = gettext(
                "The orders up to {until:%d %b %Y} could not be brought in: job {id} {state}."
            )
            raise Conflict(text.format(until=until, id=job.id, state=state))

    def _state_of(self, job_id: str) -> str:
        with self.database.reading() as session:
            job = session.get(Job, job_id)
            return job.state if job else "gone"

    def _watch(self) -> None:
        """Report the work that goes on after an advance, until it is done or time moves again."""
        target = clock.now()
        is_left = self._moving.locked
        while not is_left() and (self._works(target, MONITOR) or self._posts(target)):
            if self._closed.wait(POLL_SECONDS):
                return
        if not is_left():
            self._end_step()
            self.notify({"type": "clock", **self.state()})

    def _works(self, target: datetime, besides: frozenset[str] = BACKGROUND) -> bool:
        """Return whether jobs are open, and report one."""
        with self.database.reading() as session:
            # Training takes minutes, and reports by itself when it is done.
            open_jobs = jobs.open_jobs(session)
            busy = [job for job in open_jobs if job.queue != TRAINING and job.kind not in besides]
        if busy:
            self._report(target, _running_step(busy[0].kind))
        return bool(busy)

    def _posts(self, target: datetime) -> bool:
        """Return whether messages wait, and report it."""
        with self.database.reading() as session:
            waiting = session.scalar(outbox.undelivered())
        if waiting:
            self._report(target, gettext("posting the messages"))
        return bool(waiting)

    def _wait_for_jobs(self, target: datetime, besides: frozenset[str] = BACKGROUND) -> None:
        self._wait(lambda: not self._works(target, besides), gettext("the work that is due"))

    def _wait_until_posted(self, target: datetime) -> None:
        self._wait(lambda: not self._posts(target), gettext("the messages to be posted"))

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + WAIT_SECONDS
        while not done():
            if time.monotonic() > until:
                text = gettext("Waited {seconds:.0f} s for {what}; see `/retention jobs`.")
                raise Conflict(text.format(seconds=WAIT_SECONDS, what=what))
            if self._closed.wait(POLL_SECONDS):
                raise Conflict(gettext("The demo is stopping."))

    def _report(self, target: datetime, what: str) -> None:
        if self._step_began and self._step_began[0] == what:
            return
        self._end_step()
        self._step_began, self._target = (what, time.monotonic()), target
        self.notify({"type": "clock", **self.state()})

    def _end_step(self) -> None:
        if self._step_began:
            what, began = self._step_began
            self._steps[what] = self._steps.get(what, 0.0) + time.monotonic() - began
        self._step_began = None


def _running_step(kind: str) -> str:
    """Name a job that the advance waits for."""
    steps = {
        "digest": gettext("preparing the digest"),
        "monitor": gettext("checking the model"),
        "campaign_send": gettext("sending a campaign"),
        "campaign_deliver": gettext("sending e-mails"),
        "shop_codes": gettext("making codes at the shop"),
        "campaign_measure": gettext("measuring a campaign"),
    }
    return steps.get(kind) or title_of(kind).lower()


def parse_duration(text: str) -> timedelta:
    """Parse ``7d``, ``2w`` or ``12h``."""
    match = re.fullmatch(r"\s*(\d{1,4})\s*([hdw])\s*", text.lower())
    if not match:
        sentence = gettext("advance is {text!r}; write it like 1d, 7d or 12h.")
        raise BadInput(sentence.format(text=text))
    hours = {"h": 1, "d": 24, "w": 168}[match[2]]
    return timedelta(hours=int(match[1]) * hours)


def local_span(span: timedelta, now: datetime, zone: ZoneInfo) -> timedelta:
    """Return a span of whole days that ends at the same local hour.

    The clock may change within it. A shorter span, or a rest in hours, stays as it is.
    """
    if span % timedelta(days=1) or not span:
        return span
    local = now.astimezone(zone)
    later = (local + span).astimezone(UTC) - now.astimezone(UTC)
    return min(later, max(span, MAX_ADVANCE))


def clock_routes(machine: TimeMachine) -> list[Route]:
    """Return the routes of ``/playground/clock``.

    GET returns the time. POST with ``advance=7d`` moves it and answers after the work, or with
    ``wait=false`` while the work of the last moment goes on.
    """

    async def read(request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(machine.state))

    async def move(request: Request) -> Response:
        form = await request.form()
        try:
            span = parse_duration(str(form.get("advance") or ""))
            span = local_span(span, clock.now(), machine.settings.zone)
            waits = form.get("wait") != "false"
            result = await asyncio.to_thread(machine.advance, span, waits=waits)
        except Refused as error:
            return JSONResponse({"error": str(error)}, 409 if isinstance(error, Conflict) else 422)
        return JSONResponse({**machine.state(), **result.as_dict()})

    return [
        Route("/playground/clock", read, methods=["GET"]),
        Route("/playground/clock", move, methods=["POST"]),
    ]
