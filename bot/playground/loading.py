"""Load the demo's data while the page is already open.

A worker imports it, so that this process never loads the lake's code and the worker is warm for the
first week. Until the end, the page shows the step, and everything that needs the data is refused
with it.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from retention.db import Database
from retention.db.tables import BusinessClock, Job
from retention.errors import Refused
from retention.text import gettext
from workers.job_requests import DemoFeed
from workers.queue import broker, jobs

POLL_SECONDS = 0.1
CLOCK, COMMANDS = "/playground/clock", "/playground/commands"
STEPS = 5  # the start of the workers, and the steps of `retention.demo.journey.prepare`


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the loading, from 1 to `STEPS`."""

    number: int
    what: str

    @property
    def sentence(self) -> str:
        """The sentence that the page, the terminal and a refused command show."""
        text = gettext("The demo's data is still loading: step {step} of {steps} ({what}).")
        return text.format(step=self.number, steps=STEPS, what=self.what)


def is_loaded(database: Database) -> bool:
    """Return whether the data is complete; its last step sets the business clock."""
    with database.reading() as session:
        return session.get(BusinessClock, database.settings.team_id) is not None


def first_step() -> Step:
    """Return the step before a worker has begun."""
    return Step(1, gettext("starting the workers"))


def load(database: Database, show: Callable[[Step], None], is_over: Callable[[], bool]) -> None:
    """Import the data in a worker, and return at the end or when the demo ends."""
    while not broker.is_reachable(database.settings):
        if is_over():
            return
        time.sleep(POLL_SECONDS)
    with database.transaction() as session:
        job = jobs.submit_due(session, DemoFeed(), f"demo:load:{secrets.token_hex(8)}").job
    jobs.wake(database.settings, job)
    while not is_over():
        with database.reading() as session:
            job = session.get_one(Job, job.id)
        if job.progress_text and job.state in jobs.OPEN:
            show(Step(min(2 + job.progress_done, STEPS), job.progress_text))
        elif job.state == "done":
            return
        elif job.state not in jobs.OPEN:
            raise Refused(job.error or job.state)
        time.sleep(POLL_SECONDS)


class Gate:
    """Hold or refuse the page's requests until the bot can answer.

    Else the first command would fail with ``dispatch_failed``. The page itself and what it only
    reads are open. The rest waits for the start of the processes, and is refused while data is
    loading, which takes longer. Slack's own routes answer at once, because the bot calls them while
    it starts.
    """

    def __init__(
        self, app: ASGIApp, step: Callable[[], Step | None], wait: Callable[[], Awaitable[object]]
    ) -> None:
        self.app, self.step, self.wait = app, step, wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http" and _needs_bot(scope["method"], scope["path"]):
            step = self.step()
            # Scripts wait for the clock, which the data's last step sets.
            if step is None or scope["path"] == CLOCK:
                await self.wait()
            elif scope["path"] != COMMANDS:  # these are answered in the channel
                await JSONResponse({"error": step.sentence}, 503)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _needs_bot(method: str, path: str) -> bool:
    if not path.startswith("/playground/") or path.startswith("/playground/channels/"):
        return False
    return method == "POST" or path in ("/playground/home", CLOCK)
