"""Everything the tests of the frozen home use of today's code, under names that do not change.

This is the only file here that a rename may touch. Change imports and calls; never change what a
function returns, and never change a golden file to follow a rename.
"""

import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import skops.io
from slack_sdk import WebClient
from sqlalchemy import select

from bot.http.web import Request, Site
from bot.slack.app import build_app
from bot.terminal import run as run_terminal
from retention.campaigns.codes.coupons import check_character as coupon_check_character  # noqa: F401
from retention.campaigns.codes.redemptions import CodeUse
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.planning.assignment import buckets
from retention.churn.model import ALLOWED
from retention.churn.score import population
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Base, ModelVersion
from retention.demo.response import _draws as demo_draws
from retention.keys import Keys, key_id, keyed_hash
from retention.lake import Lake
from retention.lake.identity.links import link_id as id_of_link  # noqa: F401
from retention.lake.importing import quarantine
from retention.lake.schema import TABLES
from retention.outreach import consent
from retention.outreach.adapter import Contact, Message
from retention.outreach.smtp import build_email
from retention.privacy import email_hash, pseudonym, signing
from retention.privacy.erased import ErasedCustomers
from retention.recommend import recommend
from retention.recommend.bandit.thompson import arm_names as bandit_arms
from retention.registry.model_cache import churn_model, recommender
from retention.registry.store import has_valid_seal
from retention.risk.policy import read_policy
from retention.settings import Settings
from tests.bot.wire import SECRET as SIGNING_SECRET
from tests.bot.wire import Workspace
from tests.standins.slack import StandIn
from tests.standins.slack_api import Api, serve
from workers import action_ids
from workers.app import QUEUES, RUN_JOB
from workers.delivery.sender import Pacing, Sender
from workers.delivery.slack_client import client
from workers.job_requests import REQUESTS
from workers.queue import broker
from workers.schedule import tick as schedule
from workers.tasks import runner

# Old path in stored models → new path, once a class of ours has moved.
MOVED_TYPES: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Home:
    """An open installation."""

    settings: Any
    database: Any
    lake: Lake


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes


# ---------------------------------------------------------------- the installation


def migrate(path: Path, secret_key: str) -> str:
    """Bring the database of a home to today's schema and return its revision."""
    return upgrade(Settings(home=path, secret_key=secret_key, _env_file=None))


@contextlib.contextmanager
def open_home() -> Iterator[Home]:
    """Open the home that the environment names (``RETENTION_HOME``, ``RETENTION_NOW`` …)."""
    settings = Settings(_env_file=None)
    database = Database.of(settings)
    try:
        yield Home(settings, database, Lake.open(settings))
    finally:
        database.dispose()


def command(*words: str) -> dict[str, Any]:
    """Type a terminal command and return its JSON."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run_terminal([*words, "--json"])
    assert status == 0, printed.getvalue()
    return json.loads(printed.getvalue())


def run_job(home: Home, job_id: str) -> str:
    """Run a queued job as a worker does."""
    return runner.run_job(home.database, job_id, "a worker")


def tick(home: Home) -> list[str]:
    """Start what is due by business time; return the ids of the new jobs."""
    return schedule.tick(home.database)


def customers_in_lake(home: Home, table: str) -> set[str]:
    """Ids in a table of the lake, as they are stored."""
    stored = home.lake.table(table, identity="stored")
    return set(stored.select("customer_id").distinct().execute()["customer_id"])


def event_ids(home: Home) -> list[str]:
    """Ids of all events, sorted.

    Events without an id from their source have the hash of what they say.
    """
    return sorted(home.lake.table("events").select("event_id").execute()["event_id"])


def data_fingerprint(home: Home, cutoff: datetime) -> str:
    """Fingerprint of the events before a cutoff, as models store it."""
    return home.lake.fingerprint(cutoff)


def quarantine_counts(home: Home) -> dict[str, int]:
    """Rows that were put aside, by reason."""
    return quarantine.counts(home.lake.duckdb, home.settings)


# ---------------------------------------------------------------- models


def features(home: Home, version: str, as_of: datetime) -> pd.DataFrame:
    """Features of all active customers (index: customer id), as a stored churn model asks for."""
    trained = churn_model(home.settings, _version(home, version))
    snapshot = population(home.lake, as_of, window=trained.window)
    columns = list(trained.columns)
    return pd.DataFrame(snapshot.matrix(columns), columns=columns, index=snapshot.frame.customer_id)


def probabilities(home: Home, version: str, customers: pd.DataFrame) -> dict[str, float]:
    """Churn probabilities by a stored model, for customers with these features."""
    trained = churn_model(home.settings, _version(home, version))
    found = trained.probability(customers[list(trained.columns)].to_numpy(dtype=float))
    return dict(zip(customers.index, map(float, found), strict=True))


def recommendations(
    home: Home, version: str, customers: Sequence[str], k: int, as_of: datetime
) -> dict[str, list[tuple[str, float, str]]]:
    """Item, score and source of each recommendation, by a stored model."""
    trained = recommender(home.settings, _version(home, version))
    lists = recommend(trained, home.lake, customers, k=k, as_of=as_of)
    return {
        who: [(item.item_id, float(item.score), item.source) for item in items]
        for who, items in lists.items()
    }


def _version(home: Home, version: str) -> ModelVersion:
    with home.database.reading() as session:
        return session.scalars(select(ModelVersion).where(ModelVersion.version == version)).one()


def allowed_types() -> set[str]:
    """Types that a stored churn model may contain."""
    return set(ALLOWED)


def types_in(artefact: bytes) -> set[str]:
    """Types in a stored churn model that skops does not trust by itself."""
    return set(skops.io.get_untrusted_types(data=artefact))


def seal_is_valid(settings: Any, seal: str, **row: str) -> bool:
    """Whether a stored model's row carries a valid seal; ``row`` has its columns."""
    return has_valid_seal(settings, ModelVersion(hmac=seal, **row))


# ---------------------------------------------------------------- stored values


def parse_request(kind: str, args: dict[str, Any]) -> dict[str, Any]:
    """Read a job's or a schedule's stored arguments and write them again."""
    return REQUESTS[kind].model_validate(args).model_dump(mode="json")


def task_of(kind: str) -> Callable[..., Any]:
    """The function that a worker runs for a kind of job."""
    return runner.find_task(kind)


def parse_campaign_body(body: dict[str, Any]) -> dict[str, Any]:
    """Read a campaign's stored body and write it again."""
    return Body.model_validate(body).model_dump(mode="json")


def action_and_view_ids() -> set[str]:
    """Ids of buttons, modals and post metadata."""
    return {value for name, value in vars(action_ids).items() if name.isupper()}


def lake_tables() -> dict[str, dict[str, Any]]:
    """Key, partition and columns (name → kind) of each table of the lake."""
    found: dict[str, dict[str, Any]] = {}
    for table in TABLES.values():
        columns = {column.name: column.kind for column in table.columns}
        found[table.name] = {"key": list(table.key), "keyed": table.keyed, "columns": columns}
        found[table.name]["partition"] = table.partition
    return found


def sql_tables() -> dict[str, set[str]]:
    """Columns of each SQL table, as the code expects them."""
    return {table.name: set(table.columns.keys()) for table in Base.metadata.sorted_tables}


def environment_variables() -> set[str]:
    """Environment variables that set the settings."""
    found = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        found.add(alias.choices[0] if alias is not None else f"RETENTION_{name.upper()}")
    return found


def broker_names() -> dict[str, Any]:
    """Names in messages that may still be in the broker during an upgrade."""
    names = {"task": RUN_JOB, "prefix": broker.PREFIX, "job_header": broker.JOB}
    return {**names, "queues": list(QUEUES)}


def arms_of(policy: Path) -> list[str]:
    """Names of the bandit's arms under a policy file."""
    return list(bandit_arms(read_policy(policy)))


# ---------------------------------------------------------------- keyed hashes and derived values


def hash_for(key: str, purpose: str, value: str) -> str:
    return keyed_hash(key.encode(), purpose, value).hex()


def pseudonym_of(key: str, customer_id: str) -> str:
    return pseudonym(key.encode(), customer_id)


def hash_of_email(key: str, address: str) -> str:
    return email_hash(key.encode(), address)


def id_of_key(key: str) -> str:
    return key_id(key.encode())


def unsubscribe_token(key: str, send_id: int) -> str:
    return consent.unsubscribe_token(Keys((key.encode(),)), send_id)


def read_unsubscribe_token(key: str, token: str) -> int | None:
    return consent.read_unsubscribe_token(Keys((key.encode(),)), token)


def is_erased(key: str, id_hash: str, customer_id: str) -> bool:
    """Whether a stored hash names this customer."""
    return customer_id in ErasedCustomers({key.encode(): frozenset({id_hash})}).among([customer_id])


def signature_headers(key: str, body: bytes, at: datetime) -> dict[str, str]:
    return signing.headers(key.encode(), body, at)


def signature_fault(key: str, body: bytes, headers: dict[str, str], now: datetime) -> str:
    """Why a signed body is refused; empty where it is accepted."""
    stamp, signature = headers[signing.TIMESTAMP], headers[signing.SIGNATURE]
    return signing.signature_fault(key.encode(), body, stamp, signature, now)


def assignment_buckets(
    salt: str, campaign_id: str, tier: str, customers: Sequence[str]
) -> dict[str, int]:
    return buckets(salt, campaign_id, [(customer_id, tier) for customer_id in customers])


def demo_answer(key: str, campaign_id: str, customer_id: str) -> list[float]:
    return list(demo_draws(key.encode(), campaign_id, customer_id))


def redemption_identity(
    code: str,
    at: datetime,
    source: str,
    customer_id: str | None = None,
    order_id: str | None = None,
    key: str = "",
) -> str:
    return CodeUse(code, at, source, customer_id, order_id, key).identity


def message_id(key: str) -> str:
    """Message-ID of the e-mail with this key, from a@shop.example."""
    to, link = Contact("ann@example.com", "Ann"), "https://crm.shop.example/unsubscribe/x"
    message = Message(key, "c123abc", "c0001", to, "s", "t", "<p>t</p>", link, {})
    return str(build_email(message, sender=Address(addr_spec="a@shop.example"))["Message-ID"])


# ---------------------------------------------------------------- HTTP


def request(
    home: Home, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Reply:
    """Call the bot's HTTP server, as the shop's customers and tills do."""
    named = {name.lower(): text for name, text in (headers or {}).items()}
    named = {"content-type": "application/json"} | named
    sent = Request(method, path, headers=named, body=body)
    answer = Site(home.settings, home.database).respond(sent)
    return Reply(answer.status, answer.body)


# ---------------------------------------------------------------- Slack


@contextlib.contextmanager
def slack_at_the_wire() -> Iterator[Api]:
    """Slack's Web API for the bot; sets the environment of the app."""
    api = Api()
    server = serve(api)
    api.answers["conversations.info"] = {"ok": True, "channel": {"id": "C0CRM", "is_member": True}}
    with _variables(
        SLACK_API_URL=api.url, SLACK_BOT_TOKEN="xoxb-test", SLACK_SIGNING_SECRET=SIGNING_SECRET
    ):
        yield api
    server.shutdown()


def slack_app(home: Home, api: Api) -> Workspace:
    """The bot's app, driven by signed requests."""
    return Workspace(build_app(home.settings, home.database), api)


@contextlib.contextmanager
def slack_stand_in() -> Iterator[Any]:
    """A whole stand-in for Slack, for the sender; sets the environment."""
    with StandIn.start(strict=False) as stand_in, _variables(**stand_in.environment):
        yield stand_in


def slack_client(home: Home) -> WebClient:
    """The installation's client of the Web API."""
    return client(home.database)


def deliver_all(home: Home) -> None:
    """Run a new sender until it finds nothing that is due."""
    pace = Pacing(channel_gap=0.0, recheck_after=0.0, lease=60.0, idle_wait=0.0)
    sender = Sender(home.database, slack_client(home), pace)
    while sender.step():
        pass


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Return the first true answer; the bot stores clicks in a thread of its own."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := condition():
            return answer
        time.sleep(0.01)
    raise AssertionError("the condition did not become true")


@contextlib.contextmanager
def _variables(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
