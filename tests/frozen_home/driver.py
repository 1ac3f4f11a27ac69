"""Fill a home and write its golden files.

`build.py` starts it inside a checkout of the frozen commit. Usage:
``python driver.py HOME GOLDEN_FOLDER INPUT_FOLDER``. The names imported here are those of the
frozen commit: do not rename them when the project renames its own.
"""
# ruff: noqa: E402 - real time is patched before the project's tables are imported

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from pathlib import Path
from typing import Any

from retention import clock

STARTED = time.monotonic()
# Leases and delivery times of the frozen home must be in the past on every machine.
OLD_WALL_TIME = datetime(2025, 6, 2, 8, tzinfo=UTC)
clock.wall = lambda: OLD_WALL_TIME + timedelta(seconds=time.monotonic() - STARTED)

import numpy as np
import pandas as pd
import skops.io
from slack_sdk import WebClient
from sqlalchemy import select

from bot.playground.server import StandIn
from bot.terminal import run as run_command
from retention.campaigns.assignment import buckets
from retention.campaigns.coupons import check_character
from retention.campaigns.redemptions import Use
from retention.churn.model import ALLOWED
from retention.churn.score import population
from retention.db import Database
from retention.db.tables import (
    Base,
    Campaign,
    Erasure,
    Job,
    ModelVersion,
    Outbox,
    Run,
    Schedule,
    Send,
)
from retention.demo.response import _draws
from retention.lake import Lake
from retention.lake.identity.links import link_id
from retention.lake.schema import TABLES
from retention.outreach import tokens
from retention.outreach.contract import Contact, Message
from retention.outreach.smtp import email
from retention.privacy import email_hash, keyed_hash, pseudonym, signing
from retention.privacy.keys import key_id
from retention.recommend import recommend
from retention.recommend.bandit.thompson import names as arm_names
from retention.registry import store
from retention.registry.opened import churn_model, recommender
from retention.risk.policy import load_policy
from retention.settings import Settings
from tests.retention.outreach.mail import Inbox, Mailserver
from tests.shop import frames
from workers import broker, ids, jobs, schedule
from workers.app import QUEUES, RUN_JOB
from workers.delivery.sender import Pace, Sender
from workers.delivery.slack import client
from workers.requests import REQUESTS, CampaignDraft, Cohort, Recommend, Score, Sweep
from workers.tasks.runner import run_job

ANALYST, LEAD, ADMIN = "U0ANALYST", "U0LEAD", "U0ADMIN"
CRM = "C0CRM"
SECRET_KEY = (
    "frozen-home-test-key-0123456789abcdef-not-a-secret"  # public on purpose: it protects nothing
)
TRAINED_AT = datetime(2025, 6, 2, 8, tzinfo=UTC)  # a Monday
SCORED = "c0004"
RECOMMENDED_TO = ("c0001", "c0004", "c0010", "c0033", "nobody")
PACE = Pace(gap=0.0, doubt=30.0, lease=60.0, idle=0.01)

POLICY = """
[tiers]
high = 0.34
medium = 0.27

[values]
high = 0.1
middle = 0.4

[offer]
margin = 0.3
redemption = 0.1
contact_cost = 0.02
call_cost = 4.0
shipping_cost = 5.0
new_days = 42
uplift = 0.04
uplift_sd = 0.02
expires_days = 28
items = 3

[campaign]
holdout = 0.15
clearance_hours = 4
approval_expires_hours = 72
remind_hours = 24
quiet_hours = ""
window_days = 28
frequency_cap_days = 14
bounced_days = 90
min_margin = 0.05
max_audience = 20000
max_calls = 40
consent = "required"
budget = 5000

[second_approver]
audience = 5000
cost = 2500
discount = 0.2

[recommend]
policy = "both"

[[rules]]
name = "High risk"
tiers = ["high"]
action = "coupon"
discount = 0.1

[[rules]]
name = "Medium risk"
tiers = ["medium"]
action = "coupon"
amount = 5
min_order = 40

[[rules]]
name = "Low risk"
tiers = ["low"]
action = "reminder"
"""

CHURN_MODELS = (
    "quadratic",
    "tree",
    "bg_nbd",
    "bg_season",
    "bg_logistic",
    "logistic",
    "rfm_logistic",
)
RECOMMENDERS = (
    "als",
    "ease",
    "item_knn_cosine",
    "item_knn_tfidf",
    "item_knn_bm25",
    "user_knn_cosine",
    "user_knn_tfidf",
    "user_knn_bm25",
    "bpr",
    "logistic_mf",
    "repeat",
    "popular",
    "popular_segment",
    "trending",
    "content",
    "social",
    "auto",
)


def command(*words: str, at: datetime, user: str = "operator") -> dict:
    """Type a terminal command at a business time and return its JSON."""
    os.environ["RETENTION_NOW"] = at.isoformat()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run_command([*words, "--json", *(("--as", user) if user != "operator" else ())])
    if status:
        raise SystemExit(f"retention {' '.join(words)} ended with {status}: {printed.getvalue()}")
    return json.loads(printed.getvalue())


class Desk:
    """The installation at one business time."""

    def __init__(self, at: datetime) -> None:
        os.environ["RETENTION_NOW"] = at.isoformat()
        self.settings = Settings()
        self.database = Database.of(self.settings)
        self.lake = Lake.open(self.settings)

    def submit(self, request, user: str, channel: str, key: str) -> Job:
        with self.database.transaction() as session:
            return jobs.submit(
                session, self.settings, request, requested_by=user, channel=channel, idem_key=key
            ).job

    def run(self, request, user: str, channel: str, key: str) -> Job:
        job = self.submit(request, user, channel, key)
        return self.finish(job.id)

    def finish(self, job_id: str) -> Job:
        run_job(self.settings, self.database, job_id, "frozen")
        with self.database.reading() as session:
            job = session.get_one(Job, job_id)
        if job.state != "done":
            raise SystemExit(f"{job.kind} is {job.state}: {job.error}")
        return job

    def tick(self) -> None:
        for job_id in schedule.tick(self.database, self.settings):
            self.finish(job_id)

    def send(self, steps: int = 1_000) -> None:
        sender = Sender(self.settings, self.database, self.web(), PACE)
        while steps and sender.step():
            steps -= 1

    def web(self) -> WebClient:
        web = client(self.settings, self.database)
        web.timeout = 2
        return web


def write(folder: Path, name: str, data: Any) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True, default=str)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def import_data(inputs: Path) -> None:
    """Import the shop, and a file with rows that cannot be used."""
    for name, frame in frames(customers=160, items=30, days=150).items():
        frame.to_parquet(inputs / f"{name}.parquet")
        command("import", name, str(inputs / f"{name}.parquet"), at=TRAINED_AT)
    (inputs / "bad_rows.csv").write_text(
        "customer_id,event_type,occurred_at,item_id,amount\n"
        "c0001,purchase,2025-05-30 10:00:00,i001,12.5\n"
        "c0002,purchase,soon,i002,8\n"
        "c0003,teleport,2025-05-30 10:00:00,i003,8\n"
        ",purchase,2025-05-30 10:00:00,i004,8\n"
    )
    command("import", "events", str(inputs / "bad_rows.csv"), "--source", "till", at=TRAINED_AT)


def train() -> None:
    """Train a model of every kind; put the RFM churn model and the blended recommender into use."""
    for kind, names in (("churn", CHURN_MODELS), ("recommend", RECOMMENDERS)):
        for name in names:
            active = ("--active-within", "28d") if kind == "churn" else ()
            done = command(
                "retrain", kind, "--model", name, "--horizon", "14d", *active, at=TRAINED_AT
            )
            version = done["models"][0]["version"]
        with contextlib.suppress(SystemExit):  # refused where it is in use already
            command("models", "promote", version, at=TRAINED_AT)


def approve(desk: Desk, tier: str, key: str, *, submit: bool = True, approve: bool = True) -> str:
    """Draft a campaign in Slack, submit it and approve it."""
    at = clock.now()
    campaign_id = desk.run(
        CampaignDraft(tier=tier, name=f"Frozen {key}"), ANALYST, CRM, key
    ).result["campaign_id"]
    if submit:
        command("campaign", "submit", campaign_id, at=at, user=ANALYST)
    if approve:
        demo = Path(os.environ["RETENTION_HOME"]) / "playground.db"
        demo.touch()  # only in a demo's home the terminal approves
        command("campaign", "approve", campaign_id, at=at, user=LEAD)
        demo.unlink()
    return campaign_id


def erase_a_recipient(desk: Desk, campaign_id: str) -> str:
    """Erase one customer of a live campaign who got an e-mail and a coupon. Returns the id."""
    with desk.database.reading() as session:
        sent = select(Send.customer_id).where(Send.campaign_id == campaign_id, Send.state == "sent")
        recipients = sorted(set(session.scalars(sent)) - {*RECOMMENDED_TO, SCORED})
    command("forget", recipients[0], "--yes", at=clock.now())
    return recipients[0]


def fill(inputs: Path, slack: StandIn, inbox: Inbox) -> tuple[datetime, dict]:
    """Do what a shop does in a day; return the frozen business time and facts for the tests."""
    import_data(inputs)
    train()
    command("role", "grant", ANALYST, "analyst", at=TRAINED_AT)
    command("role", "grant", LEAD, "approver", at=TRAINED_AT)
    command(
        "digest",
        "schedule",
        "--day",
        "monday",
        "--at",
        "09:30",
        "--channel",
        CRM,
        at=TRAINED_AT,
        user=ANALYST,
    )

    desk = Desk(TRAINED_AT)
    with desk.database.transaction() as session:
        schedule.add(
            session,
            desk.settings,
            "sweep",
            {"tier": "medium", "top": 20},
            None,
            "07:15",
            "Europe/London",
            CRM,
            ANALYST,
        )
    sweep = desk.run(Sweep(tier="medium"), ANALYST, CRM, "slack:sweep")
    score = desk.run(Score(customer_id=SCORED), ANALYST, CRM, "slack:score")
    liked = desk.run(Recommend(customer_id=SCORED), ANALYST, CRM, "slack:recommend")
    live = approve(desk, "high", "slack:live")
    desk.send()

    later = Desk(TRAINED_AT + timedelta(hours=5))
    later.tick()  # the clearance time is over: scheduled, sent, copies delivered
    later.tick()
    approved = approve(later, "medium", "slack:approved")
    submitted = approve(later, "low", "slack:submitted", approve=False)
    erased = erase_a_recipient(later, live)
    links = {
        mail["To"].addresses[0].addr_spec: mail["List-Unsubscribe"].strip("<>")
        for mail in inbox.mails
    }
    links.pop(f"{erased}@example.com")

    frozen_at = TRAINED_AT + timedelta(hours=5, minutes=30)
    desk = Desk(frozen_at)
    desk.send()
    cancellable = desk.submit(Sweep(tier="high"), ANALYST, CRM, "slack:cancellable")
    desk.send()
    # One post in doubt that Slack accepted, one that it did not, and two that nobody tried to send.
    slack.slack.web_api.hang_seconds = 3.0
    slack.fault("timeout_after_accept", 1, "chat.postMessage")
    accepted = desk.submit(Cohort(months=6), ANALYST, CRM, "slack:accepted")
    desk.send(1)
    slack.fault("server_error", 1, "chat.postMessage")
    unaccepted = desk.submit(
        Recommend(customer_id="c0010", k=5), ANALYST, ANALYST, "slack:unaccepted"
    )
    desk.send(1)
    pending = [
        desk.submit(Score(customer_id="c0033"), LEAD, LEAD, "slack:pending-direct"),
        desk.submit(Sweep(tier="low", top=7), ANALYST, CRM, "slack:pending-channel"),
    ]
    listed = command("recommend", SCORED, "--k", "8", at=frozen_at)["items"]
    web = desk.web()
    history = web.conversations_history(channel=CRM, include_all_metadata=True, limit=100)[
        "messages"
    ]
    doubted = f"job:{accepted.id}"
    (found,) = [
        one
        for one in history
        if one.get("metadata", {}).get("event_payload", {}).get("key") == doubted
    ]
    time.sleep(3)  # the stand-in ends the call that it let time out
    return frozen_at, {
        "campaigns": {"live": live, "approved": approved, "submitted": submitted},
        "jobs": {
            "sweep": sweep.id,
            "score": score.id,
            "recommend": liked.id,
            "cancellable": cancellable.id,
            "accepted": accepted.id,
            "unaccepted": unaccepted.id,
            "pending": [job.id for job in pending],
        },
        "erased": erased,
        "scored": SCORED,
        "recommended_by_command": [item["item_id"] for item in listed],
        "posted_in_doubt": {key: found[key] for key in ("text", "blocks", "metadata")},
        "unsubscribe": dict(sorted(links.items())[:3]),
    }


# ---------------------------------------------------------------- golden files


def predictions(desk: Desk, as_of: datetime, inputs: Path) -> dict:
    """Return the probabilities of every stored churn model for all active customers.

    Their features go to a file.
    """
    with desk.database.reading() as session:
        rows = session.scalars(select(ModelVersion).where(ModelVersion.kind == "churn")).all()
    found, used = {}, set()
    for row in rows:
        trained = churn_model(desk.settings, row)
        active = population(
            desk.lake,
            as_of,
            horizon_days=row.horizon_days,
            active_within_days=row.active_within_days,
        )
        used |= set(trained.columns)
        found[row.version] = {
            "estimator": row.estimator,
            "state": row.state,
            "probabilities": dict(
                zip(active.frame.customer_id, map(float, trained.predict(active)), strict=True)
            ),
        }
    columns = sorted(used)
    features = pd.DataFrame(active.matrix(columns), columns=columns, index=active.frame.customer_id)
    features.to_parquet(inputs / "features.parquet")
    return found


def recommendations(desk: Desk, as_of: datetime) -> dict:
    """The lists of every stored recommender for a few customers."""
    with desk.database.reading() as session:
        rows = session.scalars(select(ModelVersion).where(ModelVersion.kind == "recommend")).all()
    found = {}
    for row in rows:
        lists = recommend(
            recommender(desk.settings, row), desk.lake, RECOMMENDED_TO, k=8, as_of=as_of
        )
        found[row.version] = {
            "estimator": row.estimator,
            "state": row.state,
            "lists": {
                who: [[item.item_id, float(item.score), item.source] for item in items]
                for who, items in lists.items()
            },
        }
    return found


def vectors(desk: Desk, erased: str) -> dict:
    """Keyed hashes of every purpose, with the key and the input that give them."""
    key, settings = SECRET_KEY.encode(), desk.settings
    body, moment = b'{"code":"7KQ2-M9ZD-4HT6"}', datetime(2025, 6, 2, 8, tzinfo=UTC)
    with desk.database.reading() as session:
        model = session.scalars(
            select(ModelVersion).where(ModelVersion.state == "champion")
        ).first()
        erasure = session.scalars(select(Erasure)).one()
    message = Message(
        key="c123abc:17",
        campaign_id="c123abc",
        customer_id="c0001",
        to=Contact("ann@example.com", "Ann"),
        subject="s",
        text="t",
        html="<p>t</p>",
        unsubscribe_url="https://crm.shop.example/unsubscribe/x",
        offer={},
    )
    mail = email(message, sender=Address(addr_spec="a@shop.example"))
    return {
        "key": SECRET_KEY,
        "keyed_hash": [
            {"purpose": purpose, "input": given, "output": keyed_hash(key, purpose, given).hex()}
            for purpose, given in (
                ("erased", "c0001"),
                ("pseudonym", "c0001"),
                ("email", "ann@example.com"),
                ("unsubscribe", "17"),
                ("key id", ""),
                ("answer to c123abc", "c0001"),
            )
        ],
        "pseudonym": {one: pseudonym(key, one) for one in ("c0001", "c0002", "Zoë", "12")},
        "email": {
            one: email_hash(key, one)
            for one in ("ann@example.com", " Ann@Example.COM ", "zoë@example.com")
        },
        "key_id": {one: key_id(one.encode()) for one in (SECRET_KEY, "another key")},
        "unsubscribe": {str(one): tokens.made(settings.keys, one) for one in (1, 17, 123456)},
        "erased": {"customer_id": erased, "id_hash": erasure.id_hash, "key_id": erasure.key_id},
        "model_seal": {
            "team_id": model.team_id,
            "kind": model.kind,
            "version": model.version,
            "sha256": model.sha256,
            "output": store._seal(key, settings, model.kind, model.version, model.sha256),
        },
        "signed_body": {
            "body": body.decode(),
            "at": moment.isoformat(),
            "headers": signing.headers(key, body, moment),
        },
        "assignment": {
            "salt": "a salt",
            "campaign_id": "c123abc",
            "tier": "high",
            "buckets": buckets("a salt", "c123abc", [(f"c{n:04d}", "high") for n in range(12)]),
        },
        "demo_answer": {
            "campaign_id": "c123abc",
            "customer_id": "c0001",
            "output": _draws(key, "c123abc", "c0001"),
        },
        "coupon_check": {
            one: check_character(one) for one in ("7KQ2M9ZD4HT", "00000000000", "ZZZZZZZZZZZ")
        },
        "link_id": {"c0001 c0002": link_id("c0001", "c0002")},
        "redemption_key": {
            "code": "7KQ2-M9ZD-4HT6",
            "at": moment.isoformat(),
            "source": "http",
            "customer_id": "c0001",
            "order_id": "o1",
            "output": Use("7KQ2-M9ZD-4HT6", moment, "http", "c0001", "o1").identity,
            "with_own_key": Use("7KQ2-M9ZD-4HT6", moment, "http", key="id:slip 1").identity,
        },
        "message_id": {"key": message.key, "output": mail["Message-ID"]},
    }


REQUEST_EXAMPLES = {
    "retrain": {
        "models": ["churn"],
        "horizon": 14,
        "active_within": None,
        "model": "logistic",
        "cutoff": "2025-06-02T08:00:00Z",
        "tune": 60,
        "tune_fits": 5,
    },
    "sweep": {"tier": "medium", "top": 20, "as_of": "2025-06-02T08:00:00Z"},
    "score": {
        "customer_id": "c0004",
        "merged": "c0005",
        "as_of": "2025-06-02T08:00:00Z",
        "explain": True,
    },
    "recommend": {
        "customer_id": "c0004",
        "merged": "c0005",
        "k": 5,
        "policy": "new",
        "as_of": "2025-06-02T08:00:00Z",
    },
    "cohort": {"months": 6, "as_of": "2025-06-02T08:00:00Z"},
    "cohort_csv": {"cohort_id": "1a2b3c4d"},
    "campaign_draft": {"cohort_id": "1a2b3c4d", "tier": "low", "name": "May"},
    "campaign_send": {"campaign_id": "c123abc", "version": 2},
    "campaign_deliver": {"campaign_id": "c123abc"},
    "campaign_csv": {"campaign_id": "c123abc", "part": "calls"},
    "campaign_measure": {"campaign_id": "c123abc"},
    "campaign_look": {"campaign_id": "c123abc"},
    "digest": {"as_of": "2025-06-02T08:00:00Z"},
    "model_card": {"version": "churn-20250531-abcdef"},
    "data_quality": {},
    "recommend_report": {"days": 84, "as_of": "2025-06-02T08:00:00Z"},
    "promises_report": {},
    "monitor": {"scheduled": True},
    "demo_feed": {"until": "2025-06-02T08:00:00Z"},
    "tidy": {},
    "forget": {"customer_id": "c0004"},
    "campaign_preview": {"campaign_id": "c123abc"},
    "campaign_misuse": {"campaign_id": "c123abc"},
}


def formats(desk: Desk) -> dict:
    """Names and shapes of everything that is stored."""
    if missing := set(REQUESTS) ^ set(REQUEST_EXAMPLES):
        raise SystemExit(f"no example of these kinds: {missing}")
    models = Path(desk.settings.models_url)
    ids_of_events = sorted(desk.lake.table("events").select("event_id").execute()["event_id"])
    with desk.database.reading() as session:
        versions = session.scalars(select(ModelVersion).order_by(ModelVersion.created_at)).all()
        bodies = {one.id: one.body for one in session.scalars(select(Campaign))}
        schedules = [
            {"kind": one.kind, "args": one.args} for one in session.scalars(select(Schedule))
        ]
        keys = sorted(session.scalars(select(Outbox.key)))
        blocks = [row.payload.get("blocks", []) for row in session.scalars(select(Outbox))]
        runs = sorted(session.scalars(select(Run.run_id)))
    held: dict[str, dict] = {}
    for row in versions:
        content = (models / row.artefact).read_bytes()
        if row.kind == "churn":
            held[row.version] = {
                "estimator": row.estimator,
                "types": sorted(skops.io.get_untrusted_types(data=content)),
            }
        else:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                arrays = sorted(file.files)
            held[row.version] = {
                "estimator": row.estimator,
                "format": header["format"],
                "header": sorted(header),
                "arrays": arrays,
            }
    return {
        "artefacts": held,
        "allowed_types": sorted(ALLOWED),
        "requests": {
            kind: REQUESTS[kind].model_validate(args).model_dump(mode="json")
            for kind, args in REQUEST_EXAMPLES.items()
        },
        "schedules": schedules,
        "campaign_bodies": bodies,
        "ids": {name: value for name, value in vars(ids).items() if name.isupper()},
        "buttons": sorted({one["action_id"] for _, one in elements(blocks)}),
        "outbox_keys": keys,
        "run_ids": runs,
        "arms": list(arm_names(load_policy(desk.settings))),
        "events": {"ids": ids_of_events[:20], "count": len(ids_of_events)},
        "fingerprint": desk.lake.fingerprint(clock.now()),
        "lake": {
            table.name: {
                "key": list(table.key),
                "partition": table.partition,
                "keyed": table.keyed,
                "columns": {column.name: column.kind for column in table.columns},
            }
            for table in TABLES.values()
        },
        "sql": {table.name: sorted(table.columns.keys()) for table in Base.metadata.sorted_tables},
        "broker": {
            "task": RUN_JOB,
            "prefix": broker.PREFIX,
            "job_header": broker.JOB,
            "queues": list(QUEUES),
        },
        "settings": sorted(_variables()),
    }


def quarantined(home: Path) -> dict[str, int]:
    """Rows that were put aside, by reason."""
    (file,) = (home / "quarantine").iterdir()
    return {
        reason: int(rows)
        for reason, rows in pd.read_parquet(file)["_reason"].value_counts().items()
    }


def elements(node: Any, block: str = "") -> Iterator[tuple[str, dict]]:
    """Every element with an action, and its block's id."""
    if isinstance(node, dict):
        block = node.get("block_id", block)
        if "action_id" in node:
            yield block, node
        for value in node.values():
            yield from elements(value, block)
    elif isinstance(node, list):
        for value in node:
            yield from elements(value, block)


def _variables() -> Iterator[str]:
    """The environment variables of the settings."""
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        yield alias.choices[0] if alias is not None else f"RETENTION_{name.upper()}"


def main(home: Path, golden: Path, inputs: Path) -> None:
    if not Path(clock.__file__).is_relative_to(os.environ["FROZEN_CHECKOUT"]):
        raise SystemExit(f"the code in {clock.__file__} is not that of the frozen commit")
    inbox = Inbox(on_rcpt=lambda to: "550 unknown" if to[4] in "24" else None)  # some bounce
    mail = Mailserver(inbox)
    mail.start()
    home.mkdir(parents=True)
    (home / "policy.toml").write_text(POLICY.lstrip(), encoding="utf-8")
    with StandIn.start(strict=False) as slack:
        os.environ.update(
            slack.environment,
            RETENTION_HOME=str(home),
            RETENTION_SECRET_KEY=SECRET_KEY,
            RETENTION_ADMINS=ADMIN,
            RETENTION_POLICY=str(home / "policy.toml"),
            RETENTION_PUBLIC_URL="https://crm.shop.example",
            RETENTION_SHOP="The Frozen Shop",
            RETENTION_SEND_RATE="1000",
            RETENTION_SMTP_URL=f"smtp://127.0.0.1:{mail.port}/?from=offers@shop.example",
        )
        command("init", at=TRAINED_AT)
        frozen_at, known = fill(inputs, slack, inbox)
    mail.stop()
    desk = Desk(frozen_at)
    with desk.database.reading() as session:
        revision = (
            session.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        )
    about = {
        "quarantined": quarantined(home),
        "commit": os.environ["FROZEN_COMMIT"],
        "schema": revision,
        "secret_key": SECRET_KEY,
        "now": frozen_at.isoformat(),
        "admins": ADMIN,
        **known,
    }
    write(golden, "home.json", about)
    write(golden, "predictions.json", predictions(desk, frozen_at, inputs))
    write(golden, "recommendations.json", recommendations(desk, frozen_at))
    write(golden, "hashes.json", vectors(desk, known["erased"]))
    write(golden, "stored_formats.json", formats(desk))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
