"""Strike between any two statements: before each one, and before and after each commit.

A step runs in a fork that kills itself at the k-th point, or cuts its connection there. Calls to
Slack have a point before and one after them, which is the moment at which a sender knows nothing.
"""

import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from random import Random
from typing import Any

from slack_sdk import WebClient
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from retention.db import Database
from retention.errors import Cancelled, Refused
from retention.settings import Settings

Step = Callable[[Database], object]
# What strikes at the point; it returns whether it did, or else strikes at the next one.
Act = Callable[[], bool]
NEVER = 1 << 30
FIRST_GUESS = 60  # points of a step that has not ended yet; more than most have


class Failed(AssertionError):
    """A step ended with an error that is no refusal."""


def die() -> bool:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    return True


class Countdown:
    """Strikes once, at a point or the first one after it where it can."""

    def __init__(self, at: int, act: Act) -> None:
        self.at, self.act, self.passed = at, act, 0
        self.has_struck = False

    def point(self, *_: Any, **__: Any) -> None:
        """Strike here, or go on."""
        self.passed += 1
        if self.passed >= self.at and not self.has_struck:
            self.has_struck = True  # before the act, which may execute statements
            self.has_struck = self.act()

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function with a point before and after it."""

        @wraps(call)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.point()
            answer = call(*arguments, **options)
            self.point()
            return answer

        return wrapped

    def arm(self) -> None:
        """Put points into the statements of all databases and the calls of Slack."""
        event.listen(Engine, "before_cursor_execute", self.point)
        event.listen(Engine, "commit", self.point)
        event.listen(Session, "after_commit", self.point)
        WebClient.api_call = self.around(WebClient.api_call)


@dataclass
class Forks:
    """Runs steps in forks, and remembers how many points each kind has."""

    settings: Settings
    database: Database
    chance: Random
    points: dict[str, int] = field(default_factory=dict)  # of the longest run of each kind
    act: Act = die
    next_at: int = 0  # the point, if something else chooses it
    prepare: Callable[[Database], None] | None = None  # of the fork's own database

    def crash(self, kind: str, step: Step) -> bool:
        """Run a step and strike at a random point; return whether it broke there."""
        most = self.points.get(kind, FIRST_GUESS)
        at = self.next_at or self.chance.randint(1, most)
        return self.run(kind, step, at) is None

    def run(self, kind: str, step: Step, at: int = NEVER) -> bool | None:
        """Run a step in a fork; return True if it ended, False if refused, None if broken."""
        self.database.engine.dispose()  # a fork must not share a connection
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            self._child(step, at, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return None
        passed, _, error = answer.partition("\n")
        if error == "database" and at != NEVER:
            return None
        if error not in ("", "refused"):
            raise Failed(f"{kind} at {at}: {error}")
        self.points[kind] = max(self.points.get(kind, 1), int(passed))
        return not error

    def _child(self, step: Step, at: int, writer: int) -> None:
        """Run the step in the fork; never returns."""
        error, countdown = "", Countdown(at, self.act)
        try:
            database = Database.of(self.settings)
            if self.prepare:
                self.prepare(database)
            countdown.arm()
            step(database)
        except (Refused, Cancelled):
            error = "refused"
        except SQLAlchemyError as failure:
            error = "database" if at != NEVER else f"{type(failure).__name__}: {failure}"
        except BaseException:
            error = traceback.format_exc()[-3000:]
        finally:
            os.write(writer, f"{countdown.passed}\n{error}".encode())
            os._exit(0)
