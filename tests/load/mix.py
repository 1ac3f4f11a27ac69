"""What people type: a fixed mix of commands, by many people in several channels."""

import random
import time
from dataclasses import dataclass

from tests.bot.wire import signature, slash_command

PEOPLE, TEAMS = 400, 8
# Commands that answer at once, by how many of 1,000 are typed.
LOOK_UPS = {
    "status": 175,
    "help": 80,
    "help sweep": 40,
    "jobs list": 110,
    "campaign list": 110,
    "calendar": 60,
    "audience list": 80,
    "alert list": 40,
    "schedule list": 40,
    "digest list": 40,
    "policy show": 50,
    "models list": 40,
    "definition show": 30,
    "glossary churn": 40,
    "ask who is at risk": 40,
}
# Commands that start a job or join the open one.
JOBS = {
    "score {customer}": 8,
    "recommend {customer}": 4,
    "customers --top {top}": 3,
    "sales": 3,
    "audience show regulars": 3,
    "sweep --top {top}": 2,
    "digest now": 1,
    "report promises": 1,
}


@dataclass(frozen=True, slots=True)
class Command:
    """A typed command. `starts_job`: its answer promises a result."""

    text: str
    user: str
    channel: str
    trigger: str
    starts_job: bool


def channels() -> list[str]:
    """Return the channels of the teams; the bot is in each."""
    return ["C0CRM", *(f"C0TEAM{number}" for number in range(1, TEAMS))]


def people() -> list[str]:
    """Return the user ids of the people who type."""
    return [f"U0LOAD{number}" for number in range(PEOPLE)]


class Mix:
    """Draws commands; the same seed draws the same ones.

    `jobs`: the commands that start jobs, by how many are typed beside 1,000 look-ups.
    """

    def __init__(self, customers: list[str], seed: int, jobs: dict[str, int] = JOBS) -> None:
        self._chance = random.Random(seed)
        self._customers, self._users, self._channels = customers, people(), channels()
        self._texts, self._weights = zip(*(LOOK_UPS | jobs).items(), strict=True)
        self._jobs = jobs
        self._run, self._typed = time.time_ns(), 0

    def pause(self, rate: float) -> float:
        """Return the seconds until the next command: people do not wait for each other."""
        return self._chance.expovariate(rate)

    def next(self) -> Command:
        """Return the next command."""
        self._typed += 1
        template = self._chance.choices(self._texts, self._weights)[0]
        text = template.format(
            customer=self._chance.choice(self._customers), top=self._chance.choice((5, 10, 20))
        )
        number = self._chance.randrange(PEOPLE)
        place = self._users[number], self._channels[number % TEAMS]
        return Command(text, *place, f"load.{self._run}.{self._typed}", template in self._jobs)


def signed(command: Command, secret: str) -> bytes:
    """Return the HTTP request as Slack sends it, on a connection that stays open."""
    place = {"channel_id": command.channel, "trigger_id": command.trigger}
    body = slash_command(command.text, command.user, **place)
    headers = {
        "Host": "127.0.0.1",
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
        **signature(body, secret=secret),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /slack/events HTTP/1.1\r\n{lines}\r\n{body}".encode()
