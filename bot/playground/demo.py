"""Run ``retention demo`` without Slack.

It serves the page, starts every process of `retention run` with Slack's address set to the
playground, lets a worker load the data, and stops all of it on Ctrl-C or SIGTERM.
"""

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from starlette.routing import Route

import retention
from bot.playground import loading, seed
from bot.playground.loading import Gate, Step
from bot.playground.mailbox.mailbox import Mailbox, smtp_url
from bot.playground.mailbox.routes import PATH as MAILBOX
from bot.playground.mailbox.routes import mailbox_routes
from bot.playground.page import page_routes
from bot.playground.server import Slack, free_port, port_is_free, server
from bot.playground.shop.routes import ShopRoutes
from bot.playground.shop.store import PATH, FakeShop, connect
from bot.playground.timemachine import TimeMachine, clock_routes
from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import BusinessClock, RoleGrant, Schedule
from retention.demo import ATTRIBUTION, PLAYGROUND, START
from retention.errors import BadInput, Refused
from retention.outreach.smtp import parse_smtp_url
from retention.paths import create_private_folder
from retention.settings import SECRETS, Settings
from retention.text import gettext
from workers import user_roles
from workers.action_ids import SHORTCUTS
from workers.delivery import render
from workers.job_requests import Digest
from workers.queue.child_environments import ChildEnvironments
from workers.schedule import tick
from workers.schedule.cadence import Cadence

START_SECONDS, STOP_SECONDS = 120.0, 15.0
ROLES = {"U0ANALYST": "analyst", "U0LEAD": "approver"}
ADMIN = "U0ADMIN"
# Secrets of a real workspace, shop or mail server, which the demo never uses.
_OTHERS = (
    "SLACK_",
    "RETENTION_EVENTS_",
    "RETENTION_SERVICE_",
    "RETENTION_SMTP_",
    "RETENTION_WEBHOOK_",
)
SEND_RATE = 1000  # e-mails per second: nobody is on the other side
DEMO = Path(retention.__file__).parent / "demo"
POLICY, BRAND = DEMO / "policy.toml", DEMO / "brand.toml"  # the demo shop's own
POLICIES = Path(__file__).parent / "shop" / "policies"  # that the chat quotes


def main(settings: Settings) -> None:
    """Run the demo until a signal stops it.

    Raises `SystemExit`: 1 if the data could not be imported (the reason is printed), or if a
    process ended.
    """
    if not port_is_free(settings.playground_port):
        text = gettext(
            "Port {playground_port} is taken (another demo?); set "
            "RETENTION_PLAYGROUND_PORT to a free one."
        )
        raise BadInput(text.format(playground_port=settings.playground_port))
    for variable in SECRETS.values():
        if variable.startswith(_OTHERS):
            os.environ.pop(f"{variable}_FILE", None)
    os.environ.update(environment(settings))
    settings = Settings(**credentials())
    logging.getLogger("alembic").setLevel(logging.WARNING)
    upgrade(settings)
    database = Database.of(settings)
    if not asyncio.run(_Demo(database).run()):
        raise SystemExit(1)


def credentials() -> dict[str, Any]:
    """Return the secrets of this run's workspace.

    No environment variable holds them. The signing secret is new in each run. If it were in the
    source, a web page with a host name that points here (DNS rebinding) could command the bot
    in anybody's name.
    """
    return {
        "slack_bot_token": seed.BOT_TOKEN,
        "slack_signing_secret": secrets.token_hex(16),
        "events_key": secrets.token_hex(16),
        "service_key": secrets.token_hex(16),
        "smtp_url": smtp_url(free_port()),
    }


def environment(settings: Settings) -> dict[str, str]:
    """Return the demo's environment variables, without secrets."""
    port = settings.port if port_is_free(settings.port) else free_port()
    health_port = settings.health_port if port_is_free(settings.health_port) else free_port()
    variables = {
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
        # The fake shop's pages send live events.
        "RETENTION_EVENTS_KEY": "",
        "RETENTION_EVENTS_PUBLIC_KEY": secrets.token_hex(8),
        "RETENTION_SHOP_ORIGINS": f"http://127.0.0.1:{settings.playground_port}",
        "RETENTION_SERVICE_KEY": "",
        "RETENTION_SERVICE_POLICIES": str(POLICIES),
        # E-mails go to the mailbox, and their links to unsubscribe work.
        "RETENTION_SMTP_URL": "",
        "RETENTION_WEBHOOK_URL": "",
        "RETENTION_MAIL_CONNECTION": "",
        "RETENTION_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "RETENTION_SEND_RATE": str(SEND_RATE),
    }
    if settings.policy is None:
        variables["RETENTION_POLICY"] = str(POLICY)
    if settings.brand is None and not (settings.home / BRAND.name).is_file():
        variables["RETENTION_BRAND"] = str(BRAND)
    if "timezone" not in settings.model_fields_set:
        variables["RETENTION_TIMEZONE"] = seed.TIMEZONE
    return variables


def _seed(database: Database) -> None:
    """Add missing roles and the Monday digest.

    Existing ones stay, because people may have changed them.
    """
    settings = database.settings
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
            cadence = Cadence("09:00", weekday=0)
            tick.add(session, Digest(), cadence, seed.TIMEZONE, channel="C0CRM", by="U0ANALYST")


class _Demo:
    def __init__(self, database: Database) -> None:
        settings = database.settings
        self.settings, self.database = settings, database
        self.step: Step | None = None
        if not loading.is_loaded(database):
            self.step = loading.first_step()
        secret = settings.slack_signing_secret
        self._shop_token = secrets.token_hex(16)
        self.log = settings.home / "logs" / "run.log"
        self.machine = TimeMachine(database, self._notify)
        self.slack: Slack = Slack(
            settings.playground_port,
            store=settings.home / PLAYGROUND,
            now=lambda: START if self.step else clock.now(),
            bot_url=f"http://127.0.0.1:{settings.port}/slack/events",
            secret=secret.get_secret_value() if secret else seed.SIGNING_SECRET,
            extras={
                "clock": lambda _: None if self.step else self.machine.state(),
                "loading": lambda _: self.slack.delivery.excuse(),
                "footer": ATTRIBUTION,
                "commands": self._commands,
                "shop": PATH,
                "mailbox": MAILBOX,
                "shortcuts": lambda _: [asdict(shortcut) for shortcut in SHORTCUTS],
            },
        )
        self.ready, self._failed = asyncio.Event(), False
        self.slack.delivery.excuse = lambda: self.step.sentence if self.step else None
        self._environments = ChildEnvironments(settings)
        self.mailbox = Mailbox(self.slack.workspace.store)
        app = self.slack.app(
            *page_routes(),
            *clock_routes(self.machine),
            *self._shop_routes(),
            *mailbox_routes(self.mailbox),
        )
        self.server = server(
            Gate(app, lambda: self.step, self.ready.wait), settings.playground_port
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    def _shop_routes(self) -> list[Route]:
        settings, key = self.settings, self.settings.events_key
        shop = FakeShop(
            self.slack.workspace.store,
            f"http://127.0.0.1:{settings.port}",
            key.get_secret_value() if key else "",
            self._environments,
            settings.home / "fake_shop.json",
        )
        return ShopRoutes(shop, self.database, self._shop_token).routes()

    def _notify(self, event: dict[str, Any]) -> None:
        if self._loop:
            self._loop.call_soon_threadsafe(self.slack.workspace.notify, event)

    async def run(self) -> bool:
        """Serve until a signal. Return False if a part ended before."""
        self._loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, stop.set)
        if self.step is None:
            self._open()
        serving = asyncio.create_task(self.server.serve())
        processes = await self._start()
        mail_server = await self._receive_emails()
        exited, stopping = asyncio.create_task(processes.wait()), asyncio.create_task(stop.wait())
        try:
            opening = asyncio.create_task(self._open_when_loaded(stop))
            await asyncio.wait({exited, stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                print(self.log.read_text(errors="replace")[-3000:], file=sys.stderr)
            return stop.is_set() and not self._failed
        finally:
            stop.set()  # ends the thread that waits for the data
            opening.cancel()
            stopping.cancel()
            self.ready.set()  # let go of requests that still wait
            self.machine.close()
            await self._stop(processes)
            mail_server.close()
            self._environments.remove()
            if loading.is_loaded(self.database):
                self._store_clock()
            self.slack.say_bye()
            self.server.should_exit = True
            await serving

    async def _receive_emails(self) -> asyncio.Server:
        url = self.settings.smtp_url
        assert url is not None  # of `credentials`
        return await self.mailbox.serve(parse_smtp_url(url.get_secret_value()).port)

    async def _start(self) -> asyncio.subprocess.Process:
        """Start `retention run` in a session of its own.

        Ctrl-C then reaches only this process, which stops the others in order.
        """
        create_private_folder(self.log.parent)
        print(gettext("Starting the bot, the workers and their queue …"), flush=True)
        self.log.unlink(missing_ok=True)
        self._environments.write()
        # Append, because another process truncates the log.
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

    async def _open_when_loaded(self, stop: asyncio.Event) -> None:
        """Print the address, load the data, and let requests through once the bot answers."""
        while not self.server.started:
            await asyncio.sleep(0.01)
        message = gettext("The playground is open:  {url}\n  Stop it with Ctrl-C.")
        print(f"\n  {message.format(url=self.slack.url)}\n", flush=True)
        try:
            if self.step:
                await asyncio.to_thread(loading.load, self.database, self._show, stop.is_set)
                if stop.is_set():
                    return
                self._open()
            await self._wait_for_bot()
        except Refused as refusal:
            print(refusal, file=sys.stderr)
            self._failed = True
            stop.set()
        else:
            self._show(None)

    def _show(self, step: Step | None) -> None:
        """Show the step of the loading on the page and in the terminal."""
        if step == self.step:
            return
        self.step = step
        text = step.sentence if step else None
        print(f"  {text or gettext('The demo is ready.')}", flush=True)
        self._notify({"type": "loading", "text": text})

    def _open(self) -> None:
        """Set up the desk; its data is there."""
        self._resume_clock()
        _seed(self.database)
        self._welcome()
        connect(self.database, self._shop_token, channel="C0CRM", by=ADMIN)

    async def _wait_for_bot(self) -> None:
        until = time.monotonic() + START_SECONDS
        while not await asyncio.to_thread(self._is_ready):
            if time.monotonic() > until:
                text = gettext("The bot does not answer; its log is {path}.")
                raise Refused(text.format(path=self.log.parent / "bot.log"))
            await asyncio.sleep(0.1)
        self.ready.set()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.settings.port}/health/ready", timeout=2
            ):
                return True
        except (urllib.error.URLError, OSError):
            return False

    async def _stop(self, processes: asyncio.subprocess.Process) -> None:
        if processes.returncode is None:
            processes.terminate()
            try:
                await asyncio.wait_for(processes.wait(), STOP_SECONDS)
            except TimeoutError:
                os.killpg(processes.pid, signal.SIGKILL)
                await processes.wait()

    # ------------------------------------------------------------ the clock stops with the demo

    def _resume_clock(self) -> None:
        stored = dict(self.slack.workspace.store.all("clock")).get("now")
        if stored is None or self.settings.now:
            return
        offset = (datetime.fromisoformat(stored["at"]) - clock.wall()).total_seconds()
        with self.database.transaction() as session:
            session.merge(BusinessClock(team_id=self.settings.team_id, offset_seconds=offset))

    def _store_clock(self) -> None:
        self.slack.workspace.store.put("clock", "now", {"at": clock.now().isoformat()})

    def _commands(self, user: str) -> list[dict[str, str]]:
        """Return the composer's suggestions for a person's role."""
        from bot.commands.catalogue import entries
        from bot.commands.tree import SLACK, root

        with self.database.reading() as session:
            role = user_roles.role_of(session, user)
        return [
            {"usage": entry.usage, "help": entry.help.split("\n")[0]}
            for entry in entries(root(), where=SLACK, role=role)
        ]

    def _welcome(self) -> None:
        if self.slack.workspace.messages["C0CRM"]:
            return
        message = render.message("playground/welcome")
        self.slack.workspace.post("C0CRM", seed.BOT_USER, message.text, message.blocks)
