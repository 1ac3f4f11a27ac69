"""Provide the app, its database, people with roles, and a fake Slack."""

import pytest
from pydantic import SecretStr

from bot import addresses, services, slash
from bot.app import build_app
from bot.playground import deliver
from bot.playground import workspace as fake_workspace
from retention.db.tables import DirectoryEntry, RoleGrant
from retention.privacy import pseudonym
from retention.settings import Settings
from tests.bot.campaign import drafted
from tests.bot.wire import ADMIN, ANALYST, LEAD, SECRET, Api, Workspace, serve
from workers import campaigns

# Slack gives an app three seconds. A busy machine may need more; tests of a limit set their own.
deliver.ACK_SECONDS = fake_workspace.TRIGGER_SECONDS = slash.BUDGET_SECONDS = 60
services.SLACK_SECONDS = services.LOOKUP_SECONDS = addresses.LOOKUP_SECONDS = 60
services.LOCK_MILLISECONDS = 60_000


@pytest.fixture(autouse=True)
def _short_transactions(short_transactions) -> None:
    """No test's transaction keeps the other writers waiting."""


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
        campaigns.submit(session, settings, draft, 1, ANALYST)
    return draft
