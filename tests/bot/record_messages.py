"""Record the values of Slack messages from a real installation, for test_messages.py.

``python -m tests.bot.record_messages HOME`` runs commands in a copy of a demo home that has a churn
model, and writes ``tests/bot/message_values.json``: for each template the values of its longest
message. Run it after a template needs other values.
"""

import json
import shutil
import sys
import tempfile
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from bot.commands.tree import SLACK, Call
from bot.services import Services
from bot.slack import slash
from retention import clock
from retention.db.migrate import upgrade
from retention.db.tables import DirectoryEntry, RoleGrant
from retention.settings import Settings
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER
from workers.delivery import render
from workers.tasks import runner

FILE = Path(__file__).with_name("message_values.json")
MAX_ITEMS = 25  # of a list; a longer one adds nothing to a message
COMMANDS = (
    *("help", "help models", "help campaign edit", "status", "data", "definition", "sweep"),
    *("score {customer}", "recommend {customer}", "cohort", "digest", "digest schedule"),
    *("digest list", "report recommend", "report promises", 'ask "who is about to leave?"'),
    *("models", "models check", "models card", "campaign draft --tier medium", "campaign list"),
    *("digest off", "role", "jobs", "forget {customer}"),
)
FOR_ADMINS = ("role", "forget {customer}")


def record(home: Path) -> dict[str, Any]:
    """Run the commands and return the values by template."""
    recorded: dict[str, Any] = {}
    original = render.message

    def message(template: str, **values: Any) -> render.Message:
        shown = original(template, **values)
        known = recorded.get(template)
        if known is None or len(str(values)) > len(str(known)):
            recorded[template] = json.loads(json.dumps(_short(values), default=_plain))
        return shown

    render.message = message
    try:
        _run(home)
    finally:
        render.message = original
    return recorded


def _run(home: Path) -> None:
    settings = Settings(
        home=home,
        admins=ADMIN,
        slack_bot_token=SecretStr("xoxb-none"),
        slack_api_url="http://127.0.0.1:9/",
        _env_file=None,
    )
    upgrade(settings)
    slash.BUDGET_SECONDS = 3600
    services = Services.of(settings)
    clock.configure(fixed=datetime.fromisoformat("2017-10-02T13:00:00+00:00"))
    with services.database.transaction() as session:
        for user, role in ((ANALYST, "analyst"), (LEAD, "approver"), (VIEWER, "viewer")):
            session.merge(
                RoleGrant(team_id=settings.team_id, user_id=user, role=role, granted_by=ADMIN)
            )
        customer = session.scalars(select(DirectoryEntry.pseudonym).limit(1)).one()
    for number, line in enumerate(COMMANDS):
        user = ADMIN if line in FOR_ADMINS else ANALYST
        call = Call(services, user, SLACK, f"record:{number}:{time.monotonic()}", CHANNEL)
        slash.answer(call, line.format(customer=customer))
        for job in runner_queue(services):
            runner.run_job(services.database, job, "recorder")


def runner_queue(services: Services) -> list[str]:
    """Return the ids of queued jobs."""
    from workers.queue import jobs

    with services.database.reading() as session:
        return [job.id for job in jobs.open_jobs(session)]


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _short(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in value[:MAX_ITEMS]]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if hasattr(value, "item"):
        return value.item()
    return str(value)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(sys.argv[1], copy, ignore=shutil.ignore_patterns("broker", "*.sock"))
        FILE.write_text(json.dumps(record(copy), ensure_ascii=False, indent=1, sort_keys=True))
