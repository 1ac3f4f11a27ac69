"""Realistic values of every Slack message.

Many are recorded from the demo's shop and from the tests (`tests.bot.record_messages`). Those that
must be long to show the limits of a message are made here.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.slack import glossary
from retention.campaigns.lifecycle.view import campaign_data
from retention.db.tables import Campaign
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD
from tests.retention.campaigns.samples import a_body

VALUES = Path(__file__).with_name("message_values.json")
NOON = datetime(2017, 10, 2, 12, tzinfo=UTC)
AT = NOON.isoformat()
NAME, WHO, VERSION = "Come back in October", "4R1W-HVNA", "churn-20170904-51b2c3"
ERROR = (
    "There are no orders after 1 Sep 2017, so nobody can be scored; import newer orders and run "
    "it again."
)
JOB = {
    "id": "3f9a2c11d0e4",
    "kind": "sweep",
    "title": "At-risk list",
    "state": "running",
    "args": {},
    "requested_by": ANALYST,
    "private": False,
    "done": 1200,
    "total": 2447,
    "what": "Scoring customers",
    "error": "",
    "reference": "",
    "cancelled_by": ADMIN,
    "cancelling": False,
    "attempt": 1,
    "created_at": NOON,
    "started_at": NOON,
    "finished_at": NOON,
    "business_at": NOON,
    "seconds": 12.4,
}
FAILED = {**JOB, "state": "failed", "error": ERROR, "reference": "a1b2c3d4"}
HEALTH = {
    "version": VERSION,
    "state": "decayed",
    "at": AT,
    "reasons": [{"check": "log_loss", "text": "predictions were worse than promised"}],
    "metrics": {},
    "drift": {},
}
REPORT = {"as_of": AT}
METRICS = {
    "auc": 0.8312,
    "pr_auc": 0.7441,
    "top_decile_lift": 2.41,
    "brier": 0.1542,
    "log_loss": 0.4713,
    "ece": 0.0121,
    "empc": 1.92,
}
CHECKS = [
    {"check": name, "text": text, "passed": True}
    for name, text in (
        ("log_loss", "Log-loss below that of every baseline on each period"),
        ("calibration", "Calibration error below 5%"),
        ("champion", "At least as good as the model in use"),
    )
]
MODEL = {
    "version": VERSION,
    "kind": "churn",
    "state": "champion",
    "estimator": "ensemble",
    "cutoff": "2017-09-04T13:00:00+00:00",
    "created_at": AT,
    "created_by": ANALYST,
    "promoted_by": ADMIN,
    "promoted_at": AT,
    "metrics": METRICS,
    "selection_note": "Chosen by the data among six kinds of models.",
    "horizon_days": 28,
    "active_within_days": 56,
    "parameters": {},
    "calibration": "isotonic",
    "features": [f"feature_{number}" for number in range(48)],
    "seed": 0,
    "code_version": "1.21.0",
    "data_fingerprint": "0f3a6671be5512aa9c",
    "sha256": "9d1c4e5b70a1f3",
    "origins": [{"cutoff": AT}] * 3,
    "checks": CHECKS,
    "history": [
        {"at": AT, "actor": ADMIN, "action": deed, "why": "It finds more customers"}
        for deed in ("train", "promote", "rollback", "promote")
    ],
}
OTHER = {**MODEL, "version": "churn-20170807-aa10f0", "state": "retired"}
JUDGED = {
    **HEALTH,
    "source": "stored",
    "scored_as_of": AT,
    "scored_version": "churn-20170807-aa10f0",
    "customers": 2206,
    "metrics": {**METRICS, "log_loss_interval": {"low": 0.4512, "high": 0.4933}},
    "promised": {"log_loss": 0.4402},
    "baselines": {
        name: {"log_loss": 0.5121, "auc": 0.7802} for name in ("recency", "rfm_logistic", "bg_nbd")
    },
    "drift": {
        "customers": 2206,
        "score_psi": 0.3112,
        "limit": 0.25,
        "moved": ["orders_2h"],
        "most": [
            {"feature": "orders_2h", "meaning": f"orders in the last {number}H", "psi": 0.31}
            for number in range(1, 6)
        ],
    },
}
AUDIENCE = {
    "name": "lapsing",
    "expression": "risk >= medium and value > 200 and city = 'Berlin'",
    "customers": 41,
    "population": 2447,
    "exclude": False,
    "warnings": ["No customer has the city Berlim; did you mean Berlin?"],
    "saved_by": ANALYST,
    "customers_when_saved": 38,
    "saved_as_of": AT,
    "as_of": AT,
}
SCHEDULE = {
    "number": 3,
    "command": "sweep --tier high --audience lapsing",
    "every": "mon 09:00",
    "timezone": "Europe/Berlin",
    "channel": CHANNEL,
    "paused": False,
    "next": [AT] * 3,
    "created_by": ANALYST,
}
PULL = {
    "at": AT,
    "problem": None,
    "read": 1240,
    "accepted": 1180,
    "duplicate": 48,
    "quarantined": 12,
    "late": 31,
}
GONE = {
    "file": "orders-2017-10-02.csv",
    "gone": ["total", "customer_number"],
    "new": ["order_total"],
    "renamed": {"total": "order_total"},
}
SOURCE = {
    "name": "orders",
    "kind": "files",
    "location": "/srv/export/*.csv",
    "table": "events",
    "every": "hour",
    "timezone": "Europe/Berlin",
    "channel": CHANNEL,
    "state": "active",
    "next_at": AT,
    "pulled_at": AT,
    "new_rows_at": AT,
    "problem": "schema_changed",
    "problem_facts": GONE,
    "last": PULL,
    "created_by": ADMIN,
}
DROPPED = {
    "file_id": "F0ORDERS",
    "name": "orders-2017-10-02.csv",
    "proposal": JOB["id"],
    "tables": ["events", "customers", "items", "redemptions", "bounces"],
    "table": "events",
    "refusal": None,
    "rows": 1240,
    "usable": 1228,
    "columns": ["customer_id", "event_type", "occurred_at", "order_id", "item_id", "amount"],
    "sample": [
        ["1243", "purchase", "2017-10-02 12:00", f"3119{n}", "A-11", "12.50"] for n in range(5)
    ],
    "warnings": [
        "12 rows cannot be used: amount is no number",
        "Total: the amount is the order's, repeated on each line.",
    ],
}
CALL = {
    "name": WHO,
    "pseudonym": WHO,
    "worth": 202.0,
    "owner": ANALYST,
    "due_on": "2017-10-04",
    "outcome": "no answer",
}
PROMISE = {"profit": 310.0, "low": 40.0, "high": 580.0}
TALK = {
    "title": "Draft a campaign",
    "line": "campaign draft --tier medium",
    "unused": ["regulars"],
    "value": "3f9a2c11d0e4",
    "savable": True,
}
ALERT = {
    "name": "vip-risk",
    "condition": "risk >= high and value > 200",
    "audience": "vips",
    "status": "on",
    "channel": CHANNEL,
    "fired_at": AT,
    "snoozed_until": AT,
}
FIRED = {"name": "vip-risk", "condition": ALERT["condition"], "audience": "vips"}
USE = {
    "code": "K7M2-9QRT",
    "outcome": "twice",
    "at": AT,
    "used_by": "1243",
    "order_id": "31198",
    "customer_id": "877",
}
HELD = {
    "copy": 41,
    "customer": WHO,
    "channel": "email",
    "attempts": 2,
    "doubt": "the mail server closed the connection",
}
COPY = {
    "kind": "email",
    "customer": WHO,
    "to": "a…@example.com",
    "subject": "We miss you",
    "text": "Hello, here is 15% off your next order until 30 October: K7M2-9QRT.",
}


def campaign(state: str = "submitted", **columns: Any) -> dict[str, Any]:
    """Return a campaign's values for templates."""
    row = Campaign(
        id="k7m2x9",
        name=NAME,
        state=state,
        version=2,
        post_key="job:drafting",
        salt="s",
        drafted_by=ANALYST,
        submitted_by=ANALYST,
        channel=CHANNEL,
        created_at=NOON,
        submitted_at=NOON,
        expires_at=NOON,
        send_at=NOON,
        window_ends_at=NOON,
        decided_by=LEAD,
        decided_at=NOON,
        reason="The discount is too high for regular customers",
        body=a_body().model_dump(mode="json"),
        **columns,
    )
    return campaign_data(row)


def recorded_values() -> dict[str, dict[str, Any]]:
    """Return what `tests.bot.record_messages` has recorded, by template."""
    recorded: dict[str, dict[str, Any]] = json.loads(VALUES.read_text(encoding="utf-8"))
    return recorded


def samples() -> dict[str, dict[str, Any]]:
    """Return values by template."""
    recorded = recorded_values()
    effect = {
        "tau": 0.05,
        "per_customer": 2.74,
        "low": 0.68,
        "high": 4.79,
        "p_value": 0.01,
        "total": 1240.0,
        "total_low": 310.0,
        "total_high": 2170.0,
        "variance_cut": 0.2,
    }
    measured = {
        "advice": "cheaper",
        "effects": dict.fromkeys(("buyers", "orders", "revenue", "profit"), effect),
        "simulated": None,
        "day": 20,
        "days": 28,
        "redeemed": 41,
        "cost": 410.0,
        "cost_per_order": 9.9,
        "cost_per_order_low": 5.1,
        "cost_per_order_high": 39.6,
        "segments": [],
        "sample_ratio": {"treated": 453, "control": 79, "believable": True, "p_value": 0.8},
    }
    own = {
        "audience/breakdown": {
            "by": "city",
            "audience": "lapsing",
            "cohort_tiers": ["high", "medium"],
            "has_amounts": True,
            "breakdown": [
                {
                    "value": city,
                    "rest": 0,
                    "customers": 311,
                    "at_risk": 41,
                    "revenue_at_risk": 812.5,
                }
                for city in ("Berlin", "Hamburg", None)
            ],
        },
        "audience/deleted": {"name": "lapsing"},
        "source/file_imported": {
            "name": DROPPED["name"],
            "report": {
                "rows_read": 1240,
                "rows_accepted": 1180,
                "rows_duplicate": 48,
                "rows_quarantined": 12,
                "quarantine_text": {"amount is no number": 12},
            },
        },
        "source/list": {
            "sources": [SOURCE, {**SOURCE, "problem": None}],
            "connections": ["klaviyo"],
        },
        "source/over": {"name": "orders", "problem": "silent"},
        "source/problem": {
            "name": "orders",
            "problem": "shrunk",
            "facts": {"file": "orders.csv", "rows": 480, "rows_before": 1240},
        },
        "source/pulled": {**PULL, "name": "orders", "facts": {}},
        "source/quarantine": {
            "webhooks": [
                {
                    "number": number,
                    "name": "shop",
                    "topic": "orders/create",
                    "received_at": AT,
                    "reason": "unreadable: RecursionError",
                    "has_content": number % 2 == 0,
                }
                for number in range(30)
            ],
            "tried": 2,
            "deleted": None,
        },
        "source/show": {**SOURCE, "runs": [PULL] * 10},
        "audience/list": {"audiences": [AUDIENCE, {**AUDIENCE, "exclude": True}]},
        "audience/show": AUDIENCE,
        "audience/week": {**AUDIENCE, "customers_before": 37, "new": 9, "left": 5},
        "bot/definition": {
            "definition": {"horizon_days": 28, "active_within_days": 56, "source": "person"},
            "changed": True,
            "retired": VERSION,
        },
        "bot/erased": {},
        "bot/forgotten": {
            "number_of_ids": 2,
            "erased": {"events": 214, "scores": 9},
            "platforms": [
                {
                    "name": "klaviyo",
                    "kind": "klaviyo",
                    "state": "waiting",
                    "code": "unavailable",
                    "retry_at": "2017-10-02T13:06:00+00:00",
                },
                {"name": "mail", "kind": "brevo", "state": "deleted", "code": ""},
                {"name": "news", "kind": "mailchimp", "state": "by_hand", "code": "no_access"},
            ],
        },
        "bot/brand": {
            "file": "brand.toml",
            "path": "/srv/retention/brand.toml",
            "has_file": True,
            "name": "Journey Grocers",
            "logo": "https://journey-grocers.example/logo.png",
            "website": "https://journey-grocers.example",
            "address": "1 Market Street, Columbus, OH 43215",
            "links": {"product": "", "discount": "https://journey-grocers.example/d/{code}"},
            "utm": {"source": "retention", "medium": "email"},
            "shop_language": "en",
            "languages": ("de", "en", "es", "fr", "zh"),
            "own_languages": (),
        },
        "bot/model": {"model": MODEL},
        "bot/models": {"models": [MODEL, OTHER, {**MODEL, "kind": "recommend"}]},
        "bot/models_compared": {
            "models": [MODEL, OTHER],
            "origins": [AT] * 3,
            "figures": {
                name: {"values": [value, value * 0.97], "better": MODEL["version"]}
                for name, value in METRICS.items()
            },
            "same_question": True,
            "differ": {"cutoff": [MODEL["cutoff"], AT], "estimator": ["a", "b"]},
            "features_only": [["orders_2h"], []],
        },
        "campaign/calls": {
            "campaign": {"id": "k7m2x9", "name": NAME},
            "counts": {
                "calls": 41,
                "made": 12,
                "interested": 5,
                "declined": 3,
                "no_answer": 3,
                "wrong_number": 1,
            },
            "calls": [CALL] * 10,
        },
        "campaign/my_calls": {"calls": [{**CALL, "campaign": NAME, "campaign_id": "k7m2x9"}] * 5},
        "campaign/card": {"campaign": campaign()},
        "campaign/csv": {"campaign": campaign("live"), "part": "codes", "rows": 453},
        "campaign/held": {"campaign": campaign("live"), "copies": [HELD] * 5, "more": 2},
        "campaign/list": {"campaigns": [campaign(), campaign("live"), campaign("draft")]},
        "campaign/look": {
            "campaign": campaign("live"),
            "look": measured,
            "simulated": False,
            "newest": None,
        },
        "campaign/misuse": {"name": NAME, "uses": [USE] * 3, "more": 1},
        "campaign/preview": {
            "name": NAME,
            "copies": [COPY] * 5,
            "masked": True,
            "no_address": True,
            "assumed_send": AT,
        },
        "campaign/measured": {"campaign": campaign("closed"), "measured": measured},
        "campaign/next": {"campaign": campaign("live"), "files": {"csv": 453, "call": 2}},
        "campaign/result": {
            "campaign": campaign("closed"),
            "measured": measured,
            "with_chart": False,
            "treated": 453,
            "control": 79,
        },
        "campaign/show": {
            "campaign": campaign(),
            "history": [
                {"at": AT, "actor": ANALYST, "action": deed, "why": None}
                for deed in ("draft", "edit", "submit")
            ],
        },
        "data/report": REPORT,
        "digest/report": REPORT,
        "job/done": {"job": {**JOB, "private": False}},
        "job/due": {"why": ERROR, "reference": "a1b2c3d4"},
        "job/elsewhere": {"channel": CHANNEL},
        "job/failed": {"job": FAILED},
        "job/retried": {"job": JOB},
        "job/stopped": {"job": FAILED},
        "models/card": {"card": {**MODEL, "feedback": {"useful": 12, "wrong": 3}}},
        "models/card_file": {"version": VERSION},
        "monitor/alert": {"health": JUDGED, "retraining": None, "job_id": JOB["id"]},
        "monitor/health": {"health": JUDGED, "retraining": None, "job_id": JOB["id"]},
        "playground/welcome": {},
        "report/page": REPORT,
        "report/promises": {
            "campaigns": [
                {
                    "name": NAME,
                    "promised": PROMISE,
                    "measured": PROMISE,
                    "held": True,
                    "overlaps": True,
                }
            ]
            * 3,
            "held": 3,
            "overlapping": 3,
            "unreadable": 1,
            "promised": PROMISE,
            "measured": PROMISE,
            "simulated": True,
        },
        "retrain/first": {
            "churn": {**MODEL, "promoted": True},
            "horizon_days": 28,
            "untrained": [],
            "note": "",
        },
        "retrain/done": {
            "models": [
                {
                    **MODEL,
                    "promoted": True,
                    "why": "It is better than the model in use on all three periods.",
                    "rung": "",
                    "customers": 2206,
                    "base_rate": 0.312,
                    "baselines": JUDGED["baselines"],
                },
                {
                    "kind": "recommend",
                    "version": "recommend-20170904-8811aa",
                    "estimator": "blend",
                    "promoted": False,
                    "why": "It is not better than the model in use: 0.41 and 0.42.",
                    "metrics": {"ndcg": 0.41, "recall": 0.11},
                    "baselines": {"popular": {"ndcg": 0.21, "recall": 0.08}},
                },
            ],
            "untrained": [],
            "cutoff": MODEL["cutoff"],
            "note": "",
            "horizon_days": 28,
        },
        "schedule/added": {**SCHEDULE, "stranger": True},
        "schedule/imported": {
            "report": {
                "table": "events",
                "rows_accepted": 1200,
                "rows_read": 1300,
                "rows_duplicate": 90,
                "rows_quarantined": 10,
            }
        },
        "connect/refused": {"name": "shop"},
        "connect/set_aside": {
            "name": "shop",
            "code": "changed_schema",
            "detail": "line_items",
            "number": 3,
        },
        "connect/platform": {"name": "klaviyo", "code": "access_denied"},
        "connect/profile_deletion": {
            "name": "klaviyo",
            "kind": "klaviyo",
            "code": "scope_missing",
            "erased_at": "2017-10-02T13:06:00+00:00",
        },
        "connect/data_request": {"name": "shop", "rows": 214},
        "schedule/list": {"schedules": [SCHEDULE] * 3, "may_change": True},
        "alert/list": {
            "alerts": [{**ALERT, "status": status} for status in ("on", "snoozed", "muted")],
            "may_change": True,
        },
        "alert/test": {
            **ALERT,
            "status": "muted",
            "kind": "customers",
            "days": 90,
            "every_days": 7,
            "false_alarms": 0.01,
            "would_have_fired": [{"at": AT, "customers": number} for number in (3, 8)],
        },
        "alert/fired": {
            "alerts": [
                {
                    **FIRED,
                    "kind": "customers",
                    "condition_words": "last order less than 1 day ago",
                    "list": "sweep --tier low --where «last_order < 1d»",
                    "customers": 5,
                    "named": ["G2VX-HM34", "V556-85E7"],
                    "facts": {"total": 31},
                },
                {
                    **FIRED,
                    "kind": "lapses rise",
                    "customers": 61,
                    "named": [],
                    "facts": {"week": AT, "lapsed": 61, "expected": 38.4, "false_alarms": 0.01},
                },
            ],
            "capped": 2,
            "cap": 5,
        },
        "campaign/holdout": {"share": 0.05},
        "bot/glossary": {"terms": list(glossary.ALIASES)},
        "customers/list": {
            "as_of": AT,
            "size": 2469,
            "buyers": 2400,
            "active": 1802,
            "active_days": 56,
            "order": "spent",
            "has_amounts": True,
            "currency": "USD",
            "audience": "city = Berlin",
            "note": "",
            "customers": [
                {
                    "customer": "G2VX-HM34",
                    "orders": 120 - number,
                    "spent": 9120.5 - number,
                    "first_order": AT,
                    "last_order": AT,
                }
                for number in range(24)
            ],
        },
        "sales/period": {
            "first": "2017-09-25",
            "last": "2017-10-01",
            "days": 7,
            "as_of": AT,
            "is_over": False,
            "revenue": 91947.2,
            "orders": 3120,
            "customers": 1395,
            "new": 12,
            "before": {"revenue": 93756.1, "orders": 3201, "customers": 1293, "new": 9},
            "currency": "USD",
            "audience": "vips",
            "note": "",
        },
        "report/programme": {
            "since": AT,
            "verdict": "gain",
            "months": [
                {"month": "2017-10", "profit": None, "low": None, "high": None},
                {"month": "2017-11", "profit": 310.0, "low": 20.0, "high": 610.0},
            ],
            "campaigns": 3,
            "treated": 2320,
            "held_out": 122,
            "share": 0.05,
            "simulated": True,
        },
        "talk/ran": TALK,
        "sweep/cohort": {
            **recorded["sweep/cohort"],
            "has_amounts": True,
            "cohort_tiers": [],
            "order_by": "lost_margin",
            "groups": {"active": 2_206, "lapsed": 2_630, "one_time": 8_411},
            "average": 0.31,
        },
        "sweep/more": {
            **recorded["sweep/cohort"],
            "has_amounts": True,
            "customers": recorded["sweep/cohort"]["customers"] * 2,
            "first": 25,
        },
        "shop/difference": {"shop": "tea-shop", "missing": 3, "extra": 2, "foreign": 1},
        "shop/problem": {
            "shop": "tea-shop",
            "code": "plan_limit",
            "detail": "limit",
            "campaign": {"name": NAME, "campaign_id": "k7m2x9"},
            "codes": 10_000,
            "waits": True,
        },
        "sweep/file": {"cohort_id": "c1d2e3f4", "rows": 107},
        "sweep/file_sent": {"cohort_id": "c1d2e3f4", "rows": 107},
        "sweep/taken": {"by": ANALYST, "rows": 107, "at": NOON},
    }
    common = {"zone": "America/New_York", "demo": False, "currency": "USD"}
    return {
        template: {**common, **values}
        for template, values in {**recorded, **own}.items()
        if not template.startswith("reports/")
    }
