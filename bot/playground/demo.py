"""``retention demo``: the whole product on one machine, with real data and no Slack.

Prepares the home, starts every process of `retention run` with Slack's address pointing at the playground, serves
the page, and stops all of it on Ctrl-C or SIGTERM.
"""

import asyncio
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from sqlalchemy import select

from bot.playground import seed
from bot.playground.clockwork import clock_routes
from bot.playground.page import page_routes
from bot.playground.server import Slack, free_port, port_is_free, server
from bot.playground.timemachine import TimeMachine
from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import BusinessClock, RoleGrant, Schedule
from retention.errors import BadInput
from retention.folders import private
from retention.settings import SECRETS, Settings
from retention.text import gettext
from workers import schedule
from workers.delivery import render
from workers.environment import ChildEnvironments

USABLE_SECONDS, STOP_SECONDS = 60.0, 15.0
ROLES = {"U0ANALYST": "analyst", "U0LEAD": "approver"}
ADMIN = "U0ADMIN"


def main(settings: Settings) -> None:
    """Run the demo until it is told to stop.

    Raises
    ------
    BadInput
        Where the page's port is taken.
    SystemExit
        1, where the data could not be brought in (it has said why), or the processes ended by themselves.
    """
    if not port_is_free(settings.playground_port):
        raise BadInput(
            gettext(
                "Port {playground_port} is taken (another demo?); set "
                "RETENTION_PLAYGROUND_PORT to a free one."
            ).format(playground_port=settings.playground_port)
        )
    for variable in SECRETS.values():
        if variable.startswith("SLACK_"):  # a real workspace's
            os.environ.pop(f"{variable}_FILE", None)
    os.environ.update(environment(settings))
    settings = Settings(**credentials())
    logging.getLogger("alembic").setLevel(logging.WARNING)
    upgrade(settings)
    database = Database.of(settings)
    if not _prepared(settings, database):
        print(
            "Preparing the demo: importing a real shop's year (once, about a minute) …", flush=True
        )
        prepared = _with_secrets(settings, [sys.executable, "-m", "bot.playground.prepare"])
        if prepared:  # it has said why
            raise SystemExit(prepared)
    _seed(settings, database)
    if not asyncio.run(_Demo(settings, database).run()):
        raise SystemExit(1)


def _with_secrets(settings: Settings, command: list[str]) -> int:
    """Run a command that gets our secrets by file; returns its exit status."""
    environments = ChildEnvironments(settings)
    try:
        environments.write()
        return subprocess.run(command, check=False, env=environments.of("worker")).returncode
    finally:
        environments.remove()


def credentials() -> dict[str, Any]:
    """Return the secrets of this run's workspace; no environment variable holds them.

    The signing secret is new in each run. If it were in the source, a web page whose name points at this machine (DNS
    rebinding) could command the bot in anybody's name.
    """
    return {"slack_bot_token": seed.BOT_TOKEN, "slack_signing_secret": secrets.token_hex(16)}


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables of every process of the demo: this home, this Slack, these people; no secrets."""
    port = settings.port if port_is_free(settings.port) else free_port()
    health_port = settings.health_port if port_is_free(settings.health_port) else free_port()
    told = {
        "RETENTION_DEMO": "true",
        "RETENTION_HOME": str(settings.home),
        "RETENTION_PORT": str(port),
        "RETENTION_HEALTH_PORT": str(health_port),
        "RETENTION_PLAYGROUND_PORT": str(settings.playground_port),
        "RETENTION_DEFAULT_ROLE": "viewer",
        "RETENTION_ADMINS": " ".join(sorted({ADMIN, *settings.admin_ids})),
        "SLACK_BOT_TOKEN": "",
        "SLACK_SIGNING_SECRET": "",
        "SLACK_APP_TOKEN": "",
        "SLACK_CLIENT_ID": "",
        "SLACK_API_URL": f"http://127.0.0.1:{settings.playground_port}/api/",
    }
    if "timezone" not in settings.model_fields_set:
        told["RETENTION_TIMEZONE"] = seed.TIMEZONE
    return told


def _prepared(settings: Settings, database: Database) -> bool:
    """The business clock is set last, when everything is in."""
    with database.reading() as session:
        return session.get(BusinessClock, settings.team_id) is not None


def _seed(settings: Settings, database: Database) -> None:
    """Roles, and the Monday digest: only where there are none, so that what people change stays changed."""
    with database.transaction() as session:
        for user, role in ROLES.items():
            if session.get(RoleGrant, (settings.team_id, user)) is None:
                session.add(
                    RoleGrant(team_id=settings.team_id, user_id=user, role=role, granted_by=ADMIN)
                )
        if (
            session.scalar(select(Schedule.id).where(Schedule.team_id == settings.team_id).limit(1))
            is None
        ):
            schedule.add(
                session,
                settings,
                kind="digest",
                args={},
                weekday=0,
                at="09:00",
                timezone=seed.TIMEZONE,
                channel="C0CRM",
                created_by="U0ANALYST",
            )


class _Demo:
    """The running demo."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        secret = settings.slack_signing_secret
        self.log = settings.home / "logs" / "run.log"
        self.machine = TimeMachine(settings, database, self._tell)
        self.slack = Slack(
            settings.playground_port,
            store=settings.home / "playground.db",
            now=clock.now,
            bot_url=f"http://127.0.0.1:{settings.port}/slack/events",
            secret=secret.get_secret_value() if secret else seed.SIGNING_SECRET,
            extras={"clock": self.machine.state, "footer": _footer, "commands": _commands},
        )
        self.server = server(
            self.slack.app(*page_routes(), *clock_routes(self.machine)), settings.playground_port
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._environments = ChildEnvironments(settings)

    def _tell(self, event: dict[str, Any]) -> None:
        if self._loop:
            self._loop.call_soon_threadsafe(self.slack.workspace.tell, event)

    async def run(self) -> bool:
        """Serve until somebody says stop; False where a part ended by itself."""
        self._loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, stop.set)
        self._resume_clock()
        self._welcome()
        serving = asyncio.create_task(self.server.serve())
        others = await self._start()
        exited, stopping = asyncio.create_task(others.wait()), asyncio.create_task(stop.wait())
        try:
            usable = asyncio.create_task(self._announce())
            await asyncio.wait({exited, stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            usable.cancel()
            if not stop.is_set():
                print(self.log.read_text(errors="replace")[-3000:], file=sys.stderr)
            return stop.is_set()
        finally:
            stopping.cancel()
            await self._stop(others)
            self._environments.remove()
            self._keep_clock()
            self.server.should_exit = True
            await serving

    async def _start(self) -> asyncio.subprocess.Process:
        """`retention run`, in a session of its own: Ctrl-C reaches us alone, and we stop it in order."""
        private(self.log.parent)
        print("Starting the bot, the workers and their queue …", flush=True)
        self.log.unlink(missing_ok=True)
        self._environments.write()
        # Appended to, as all logs are: they are shortened under who writes them.
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bot.terminal",
                "run",
                start_new_session=True,
                stdout=output,
                stderr=output,
                env=self._environments.of("run"),
            )

    async def _announce(self) -> None:
        """Print the page's address once somebody can use it: the bot answers (the workers are a moment behind)."""
        until = time.monotonic() + USABLE_SECONDS
        while time.monotonic() < until and not await asyncio.to_thread(self._usable):
            await asyncio.sleep(0.1)
        print(
            f"\n  The playground is open:  {self.slack.url}\n  Stop it with Ctrl-C.\n", flush=True
        )

    def _usable(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.settings.port}/health/ready", timeout=2
            ):
                return True
        except (urllib.error.URLError, OSError):
            return False

    async def _stop(self, others: asyncio.subprocess.Process) -> None:
        if others.returncode is None:
            others.terminate()
            try:
                await asyncio.wait_for(others.wait(), STOP_SECONDS)
            except TimeoutError:
                os.killpg(others.pid, signal.SIGKILL)
                await others.wait()

    # ------------------------------------------------------------ the clock stands while nobody plays

    def _resume_clock(self) -> None:
        kept = dict(self.slack.workspace.store.all("clock")).get("now")
        if kept is None or self.settings.now:
            return
        offset = (datetime.fromisoformat(kept["at"]) - clock.wall()).total_seconds()
        with self.database.transaction() as session:
            session.merge(BusinessClock(team_id=self.settings.team_id, offset_seconds=offset))

    def _keep_clock(self) -> None:
        self.slack.workspace.store.put("clock", "now", {"at": clock.now().isoformat()})

    def _welcome(self) -> None:
        if self.slack.workspace.messages["C0CRM"]:
            return
        told = render.message("playground/welcome")
        self.slack.workspace.post("C0CRM", seed.BOT_USER, told.text, told.blocks)


def _footer() -> str:
    from retention.demo import COURTESY

    return COURTESY


def _commands() -> list[dict[str, str]]:
    """What the composer offers after ``/retention``: straight from the command tree."""
    from bot.commands.catalogue import entries
    from bot.commands.tree import SLACK, root

    return [
        {"usage": entry.usage, "help": entry.help.split("\n")[0]}
        for entry in entries(root(), where=SLACK)
    ]
