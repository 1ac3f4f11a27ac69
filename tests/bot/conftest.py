"""Provide the app, its database, people with roles, and a fake Slack."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot import services
from bot.playground import deliver
from bot.playground import workspace as fake_workspace
from bot.slack import groups, slash
from bot.slack.app import build_app
from bot.terminal import run
from retention.campaigns.lifecycle.states import Step
from retention.db.tables import DirectoryEntry, RoleGrant
from retention.privacy import pseudonym
from retention.settings import Settings
from tests.bot.campaign import drafted
from tests.bot.wire import ADMIN, ANALYST, LEAD, SECRET, Workspace
from tests.standins.slack_api import Api, serve
from workers.campaigns import decisions

# Slack gives an app three seconds. A busy machine may need more; tests of a limit set their own.
deliver.ACK_SECONDS = fake_workspace.TRIGGER_SECONDS = slash.BUDGET_SECONDS = 60
services.SLACK_SECONDS = services.LOOKUP_SECONDS = groups.LOOKUP_SECONDS = 60
services.LOCK_MILLISECONDS = 60_000


@pytest.fixture(autouse=True)
def _short_transactions(short_transactions) -> None:
    """No test's transaction keeps the other writers waiting."""


class Cli:
    """Types commands as a person does in the terminal, and returns what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._read = capsys.readouterr

    def run(self, typed: str, status: int = 0) -> tuple[str, str]:
        """Return standard output and standard error."""
        self._read()
        assert run(shlex.split(typed)) == status
        return self._read()

    def text(self, typed: str) -> str:
        return self.run(typed)[0]

    def json(self, typed: str) -> dict[str, Any]:
        return json.loads(self.text(f"{typed} --json"))

    def error(self, typed: str, status: int = 2) -> str:
        return self.run(typed, status)[1]


@pytest.fixture
def cli(capsys) -> Cli:
    return Cli(capsys)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home that does not exist yet, for commands that write into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "home"))
    for name in ("NOW", "DATABASE_URL", "LAKE_URL", "TIMEZONE"):
        monkeypatch.delenv(f"RETENTION_{name}", raising=False)
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    return tmp_path / "home"


@pytest.fixture
def shop_home(shop_copy, monkeypatch):
    """A copy of the tiny shop as the terminal's home, at the end of its data."""
    monkeypatch.setenv("RETENTION_HOME", str(shop_copy.settings.home))
    monkeypatch.setenv("RETENTION_NOW", shop_copy.end.isoformat())
    return shop_copy


@pytest.fixture
def api():
    """Slack's Web API."""
    created = Api()
    server = serve(created)
    created.answers["conversations.info"] = {
        "ok": True,
        "channel": {"id": "C0CRM", "is_member": True},
    }
    yield created
    server.shutdown()


@pytest.fixture
def settings(tmp_path, api) -> Settings:
    return Settings(
        home=tmp_path / "home",
        admins=ADMIN,
        slack_bot_token=SecretStr("xoxb-test"),
        slack_signing_secret=SecretStr(SECRET),
        slack_api_url=api.url,
        _env_file=None,
    )


@pytest.fixture
def workspace(settings, database, api) -> Workspace:
    """The app with an analyst and an approver; everybody else is a viewer.

    The only customer is 42.
    """
    with database.transaction() as session:
        for user, role in ((ANALYST, "analyst"), (LEAD, "approver")):
            session.add(
                RoleGrant(team_id=settings.team_id, user_id=user, role=role, granted_by=ADMIN)
            )
        session.add(DirectoryEntry(customer_id="42", pseudonym=pseudonym(settings.key, "42")))
    return Workspace(build_app(settings, database), api)


@pytest.fixture
def draft(database, settings) -> str:
    return drafted(database, settings)


@pytest.fixture
def submitted(draft, database, settings) -> str:
    with database.transaction() as session:
        decisions.submit(session, Step(draft, ANALYST, 1))
    return draft
