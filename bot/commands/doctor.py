"""Check an installation for `retention doctor`: each finding has a code and what to do."""

import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from slack_sdk.errors import SlackApiError
from sqlalchemy.exc import SQLAlchemyError

from bot.commands.tree import Answer, Call, command
from bot.http import health
from bot.http.oauth import SCOPES
from bot.http.server import missing_configuration
from retention import clock
from retention.db import Database, audit_chain
from retention.db.migrate import newest_revision, revision_of
from retention.privacy import erased
from retention.settings import Settings
from workers.installation import Client
from workers.queue import broker

LOW_DISK = 2_000_000_000  # bytes
MAX_SKEW = timedelta(seconds=60)  # Slack's signatures are refused after five minutes
SLACK_SECONDS = 5.0
_TOKEN_ERRORS = {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. ``facts`` are the values of the sentence that ``code`` stands for."""

    level: Literal["ok", "warning", "fault"]
    code: str
    facts: dict[str, Any] = field(default_factory=dict)


@command("doctor", role="admin")
def doctor(call: Call) -> Answer:
    """Check everything, and say what to do."""
    findings = [*_settings(call.settings), *_home(call.settings), *_database(call.database)]
    findings += [*_broker(call.settings), *_slack(call.database)]
    data = {"findings": [asdict(finding) for finding in findings]}
    return Answer("bot/doctor", data, failed=any(each.level == "fault" for each in findings))


def _settings(settings: Settings) -> Iterator[Finding]:
    if missing_configuration(settings):
        yield Finding("fault", "slack_missing")
    if (settings.smtp_url or settings.webhook_url) and not settings.public_url:
        yield Finding("fault", "public_url_missing")
    if not (settings.admins or settings.demo):
        yield Finding("warning", "no_admins")
    if not (settings.admin_channel or settings.demo):
        yield Finding("warning", "no_admin_channel")
    if settings.now and not settings.demo:
        yield Finding("warning", "clock_fixed", {"now": settings.now.isoformat()})


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    if not home.is_dir():
        yield Finding("fault", "home_missing", {"home": str(home)})
        return
    if home.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("warning", "home_open", {"home": str(home)})
    free = shutil.disk_usage(home).free
    level: Literal["ok", "warning"] = "ok" if free >= LOW_DISK else "warning"
    yield Finding(level, "disk", {"free_bytes": free})


def _database(database: Database) -> Iterator[Finding]:
    try:
        revision, newest = revision_of(database), newest_revision()
        if revision != newest:
            facts = {"revision": revision, "newest": newest}
            yield Finding("fault", "database_old", facts)
            return
        yield Finding("ok", "database", {"revision": revision})
        with database.reading() as session:
            overview = health.overview(session, database)
            audited = audit_chain.verify(session)
            can_return = erased.unrecognised(session)
    except SQLAlchemyError as error:
        yield Finding("fault", "database_down", {"error": type(error).__name__})
        return
    running = {process["name"] for process in overview["processes"] if process["up"]}
    parts = {part for name in running for part in health.components_of(name)}
    missing = [part for part in ("bot", *health.REQUIRED) if part not in parts]
    if missing:
        yield Finding("fault", "processes_missing", {"names": missing})
    else:
        yield Finding("ok", "processes", {"number": len(running)})
    yield from (Finding("warning", "problem", problem) for problem in overview["problems"])
    if can_return:
        lost: dict[str, Any] = {"number": sum(can_return.values()), "names": sorted(can_return)}
        yield Finding("fault", "erasures_of_lost_keys", lost)
    if audited.problems:
        yield Finding("fault", "audit_changed", {"number": len(audited.problems)})
    elif audited.lost_keys:
        yield Finding("warning", "audit_keys_lost", {"names": list(audited.lost_keys)})
    else:
        yield Finding("ok", "audit", {"number": audited.entries})


def _broker(settings: Settings) -> Iterator[Finding]:
    up = broker.is_reachable(settings)
    yield Finding("ok", "broker") if up else Finding("fault", "broker_down")


def _slack(database: Database) -> Iterator[Finding]:
    client = Client(database, SLACK_SECONDS)
    try:
        if not client.token:
            return  # the settings' finding says so, or the app is not installed yet
        answer = client.auth_test()
    except SlackApiError as error:
        code = str(error.response.get("error"))
        kind = "token_refused" if code in _TOKEN_ERRORS else "slack_error"
        yield Finding("fault", kind, {"error": code})
        return
    except (OSError, SQLAlchemyError) as error:
        yield Finding("fault", "slack_unreachable", {"error": type(error).__name__})
        return
    headers = {name.lower(): value for name, value in answer.headers.items()}
    yield Finding("ok", "slack", {"team": answer.get("team") or answer.get("team_id")})
    if granted := headers.get("x-oauth-scopes"):
        missing = sorted({*SCOPES} - {scope.strip() for scope in granted.split(",")})
        if missing:
            yield Finding("fault", "scopes_missing", {"scopes": missing})
    if at := headers.get("date"):
        skew = clock.wall() - parsedate_to_datetime(at)
        if abs(skew) > MAX_SKEW:
            yield Finding("fault", "clock_wrong", {"seconds": round(skew.total_seconds())})
