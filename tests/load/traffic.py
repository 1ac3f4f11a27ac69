"""Send commands at a rate, whether or not the bot keeps up.

The time of an answer counts from the moment at which its command was due. So a bot that stands
still shows in all commands that were due meanwhile (no coordinated omission).
"""

import asyncio
import json
import time
from dataclasses import dataclass

from bot.http.requests import json_reply
from bot.slack import shedding
from tests.load.mix import Command, Mix, signed

PATIENCE = 10.0  # seconds until nobody waits any more
SLACK_SECONDS = 3.0  # a later answer is an error for the person
ANSWERED, PROMISED, SHED, REFUSED, LATE, ERROR = (
    "answered",
    "promised",  # of a job's result
    "shed",
    "refused",
    "late",
    "error",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run, with its commands a second."""

    name: str
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Typed:
    """A command that was sent. `due`: seconds since the run began; `took`: until its answer."""

    due: float
    took: float
    kind: str
    text: str
    trigger: str
    note: str = ""


class Traffic:
    """Commands on their way to one bot."""

    def __init__(
        self,
        port: int,
        secret: str,
        mix: Mix,
        patience: float = PATIENCE,
        late_after: float = SLACK_SECONDS,
    ) -> None:
        self._port, self._secret, self._mix = port, secret, mix
        self._patience, self._late_after = patience, late_after
        self._shed = json_reply(200, shedding._message(None)).body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.sent = 0
        self.typed: list[Typed] = []

    async def run(self, phases: list[Phase], began: float) -> None:
        """Type through all phases; `began` by `time.monotonic`."""
        due = time.monotonic() - began
        async with asyncio.TaskGroup() as group:
            end = due
            for phase in phases:
                end += phase.seconds
                while (due := due + self._mix.pause(phase.rate)) < end:
                    await asyncio.sleep(began + due - time.monotonic())
                    group.create_task(self._type(self._mix.next(), began, due))
                due = end
        for _, writer in self._idle:
            writer.close()

    async def _type(self, command: Command, began: float, due: float) -> None:
        try:
            async with asyncio.timeout(self._patience):
                status, body = await self._exchange(signed(command, self._secret))
            kind = self._kind(command, status, body)
            note = f"{status} {body.decode(errors='replace')[:300]}" if kind == REFUSED else ""
            note = f"{status}" if kind == ERROR else note
        except (OSError, EOFError, TimeoutError) as error:
            kind, note = ERROR, repr(error)
        took = time.monotonic() - began - due
        if took > self._late_after and kind != ERROR:
            kind = LATE
        self.typed.append(Typed(due, took, kind, command.text, command.trigger, note))

    def _kind(self, command: Command, status: int, body: bytes) -> str:
        if status != 200:
            return ERROR
        if body == self._shed:
            return SHED
        blocks = json.loads(body)["blocks"]
        if len(blocks) == 1 and ":warning:" in str(blocks):  # templates/slack/job/refused
            return REFUSED
        return PROMISED if command.starts_job else ANSWERED

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        while self._idle:
            reader, writer = self._idle.pop()
            try:
                return await self._on(reader, writer, request)
            except (OSError, asyncio.IncompleteReadError) as error:
                if getattr(error, "partial", b""):  # else the bot closed an idle connection
                    raise
        return await self._on(*await asyncio.open_connection("127.0.0.1", self._port), request)

    async def _on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, bytes]:
        try:
            writer.write(request)
            self.sent += 1
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(lines["content-length"]))
        except BaseException:
            writer.close()
            raise
        if lines.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split()[1]), body
