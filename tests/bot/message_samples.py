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
from retention.privacy.periods import PERIODS
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
JOB = {"id": "3f9a2c11d0e4", "kind": "sweep", "title": "At-risk list", "state": "running"}
JOB |= {"args": {}, "requested_by": ANALYST, "private": False, "cancelled_by": ADMIN}
JOB |= {"done": 1200, "total": 2447, "what": "Scoring customers", "error": "", "reference": ""}
JOB |= {"cancelling": False, "attempt": 1, "seconds": 12.4}
JOB |= dict.fromkeys(("created_at", "started_at", "finished_at", "business_at"), NOON)
FAILED = {**JOB, "state": "failed", "error": ERROR, "reference": "a1b2c3d4"}
DECAY = {"check": "log_loss", "text": "predictions were worse than promised"}
HEALTH = {"version": VERSION, "state": "decayed", "at": AT, "reasons": [DECAY]}
REPORT = {"as_of": AT}
METRICS = {"auc": 0.8312, "pr_auc": 0.7441, "top_decile_lift": 2.41, "brier": 0.1542}
METRICS |= {"log_loss": 0.4713, "ece": 0.0121, "empc": 1.92}
CHECKS = [
    {"check": name, "text": text, "passed": True}
    for name, text in (
        ("log_loss", "Log-loss below that of every baseline on each period"),
        ("calibration", "Calibration error below 5%"),
        ("champion", "At least as good as the model in use"),
    )
]
MODEL = {"version": VERSION, "kind": "churn", "state": "champion", "estimator": "ensemble"}
MODEL |= {"cutoff": "2017-09-04T13:00:00+00:00", "created_at": AT, "created_by": ANALYST}
MODEL |= {"promoted_by": ADMIN, "promoted_at": AT, "metrics": METRICS, "checks": CHECKS}
MODEL |= {"selection_note": "Chosen by the data among six kinds of models."}
MODEL |= {"horizon_days": 28, "active_within_days": 56, "parameters": {}, "seed": 0}
MODEL |= {"calibration": "isotonic", "features": [f"feature_{number}" for number in range(48)]}
MODEL |= {"code_version": "1.21.0", "data_fingerprint": "0f3a6671be5512aa9c"}
MODEL |= {"sha256": "9d1c4e5b70a1f3", "origins": [{"cutoff": AT}] * 3}
MODEL["history"] = [
    {"at": AT, "actor": ADMIN, "action": deed, "why": "It finds more customers"}
    for deed in ("train", "promote", "rollback", "promote")
]
OTHER = {**MODEL, "version": "churn-20170807-aa10f0", "state": "retired"}
DRIFT = {"customers": 2206, "score_psi": 0.3112, "limit": 0.25, "moved": ["orders_2h"]}
DRIFT["most"] = [
    {"feature": "orders_2h", "meaning": f"orders in the last {number}H", "psi": 0.31}
    for number in range(1, 6)
]
JUDGED = {**HEALTH, "source": "stored", "scored_as_of": AT, "customers": 2206, "drift": DRIFT}
JUDGED["scored_version"] = OTHER["version"]
JUDGED["metrics"] = {**METRICS, "log_loss_interval": {"low": 0.4512, "high": 0.4933}}
JUDGED["promised"] = {"log_loss": 0.4402}
JUDGED["baselines"] = {
    name: {"log_loss": 0.5121, "auc": 0.7802} for name in ("recency", "rfm_logistic", "bg_nbd")
}
AUDIENCE = {"name": "lapsing", "customers": 41, "population": 2447, "exclude": False, "as_of": AT}
AUDIENCE |= {"expression": "risk >= medium and value > 200 and city = 'Berlin'"}
AUDIENCE |= {"warnings": ["No customer has the city Berlim; did you mean Berlin?"]}
AUDIENCE |= {"saved_by": ANALYST, "customers_when_saved": 38, "saved_as_of": AT}
SCHEDULE = {"number": 3, "command": "sweep --tier high --audience lapsing", "paused": False}
SCHEDULE |= {"every": "mon 09:00", "timezone": "Europe/Berlin", "channel": CHANNEL}
SCHEDULE |= {"next": [AT] * 3, "created_by": ANALYST}
PULL = {"at": AT, "problem": None, "read": 1240, "accepted": 1180, "duplicate": 48}
PULL |= {"quarantined": 12, "late": 31}
GONE = {"file": "orders-2017-10-02.csv", "gone": ["total", "customer_number"]}
GONE |= {"new": ["order_total"], "renamed": {"total": "order_total"}}
SOURCE = {"name": "orders", "kind": "files", "location": "/srv/export/*.csv", "table": "events"}
SOURCE |= {"every": "hour", "timezone": "Europe/Berlin", "channel": CHANNEL, "state": "active"}
SOURCE |= {"next_at": AT, "pulled_at": AT, "new_rows_at": AT, "created_by": ADMIN}
SOURCE |= {"problem": "schema_changed", "problem_facts": GONE, "last": PULL}
DROPPED = {"file_id": "F0ORDERS", "name": "orders-2017-10-02.csv", "proposal": JOB["id"]}
DROPPED |= {"tables": ["events", "customers", "items", "redemptions", "bounces"]}
DROPPED |= {"table": "events", "refusal": None, "rows": 1240, "usable": 1228}
DROPPED["columns"] = ["customer_id", "event_type", "occurred_at", "order_id", "item_id"]
DROPPED["columns"] += ["amount"]
DROPPED["sample"] = [
    ["1243", "purchase", "2017-10-02 12:00", f"3119{n}", "A-11", "12.50"] for n in range(5)
]
DROPPED["warnings"] = [
    "12 rows cannot be used: amount is no number",
    "Total: the amount is the order's, repeated on each line.",
]
CALL = {"name": WHO, "pseudonym": WHO, "worth": 202.0, "owner": ANALYST}
CALL |= {"due_on": "2017-10-04", "outcome": "no answer"}
CALLS = {"calls": 41, "made": 12, "interested": 5, "declined": 3, "no_answer": 3, "wrong_number": 1}
PROMISE = {"profit": 310.0, "low": 40.0, "high": 580.0}
TALK = {"title": "Draft a campaign", "line": "campaign draft --tier medium"}
TALK |= {"unused": ["regulars"], "value": "3f9a2c11d0e4", "savable": True}
FIRED = {"name": "vip-risk", "condition": "risk >= high and value > 200", "audience": "vips"}
ALERT = {**FIRED, "status": "on", "channel": CHANNEL, "fired_at": AT, "snoozed_until": AT}
LAPSES = {"week": AT, "lapsed": 61, "expected": 38.4, "false_alarms": 0.01}
USE = {"code": "K7M2-9QRT", "outcome": "twice", "at": AT, "used_by": "1243"}
USE |= {"order_id": "31198", "customer_id": "877"}
HELD = {"copy": 41, "customer": WHO, "channel": "email", "attempts": 2}
HELD |= {"doubt": "the mail server closed the connection"}
COPY = {"kind": "email", "customer": WHO, "to": "a…@example.com", "subject": "We miss you"}
COPY |= {"text": "Hello, here is 15% off your next order until 30 October: K7M2-9QRT."}
BRAND = {"file": "brand.toml", "path": "/srv/retention/brand.toml", "has_file": True}
BRAND |= {"sender_name": "Ann from Journey", "reply_to": "service@journey-grocers.example"}
BRAND |= {"name": "Journey Grocers", "logo": "https://journey-grocers.example/logo.png"}
BRAND |= {"website": "https://journey-grocers.example", "shop_language": "en"}
BRAND |= {"address": "1 Market Street, Columbus, OH 43215", "own_languages": ()}
BRAND |= {"links": {"product": "", "discount": "https://journey-grocers.example/d/{code}"}}
BRAND |= {"utm": {"source": "retention", "medium": "email"}}
BRAND |= {"languages": ("de", "en", "es", "fr", "zh")}
PLATFORMS = [
    {"name": "klaviyo", "kind": "klaviyo", "state": "waiting", "code": "unavailable"}
    | {"retry_at": "2017-10-02T13:06:00+00:00"},
    {"name": "mail", "kind": "brevo", "state": "deleted", "code": ""},
    {"name": "news", "kind": "mailchimp", "state": "by_hand", "code": "no_access"},
]
EFFECT = {"tau": 0.05, "per_customer": 2.74, "low": 0.68, "high": 4.79, "p_value": 0.01}
EFFECT |= {"total": 1240.0, "total_low": 310.0, "total_high": 2170.0, "variance_cut": 0.2}
MEASURED = {"advice": "cheaper", "simulated": None, "day": 20, "days": 28, "redeemed": 41}
MEASURED |= {"cost": 410.0, "cost_per_order": 9.9, "segments": []}
MEASURED |= {"cost_per_order_low": 5.1, "cost_per_order_high": 39.6}
MEASURED["effects"] = dict.fromkeys(("buyers", "orders", "revenue", "profit"), EFFECT)
MEASURED["sample_ratio"] = {"treated": 453, "control": 79, "believable": True, "p_value": 0.8}
RECOMMENDER = {"kind": "recommend", "version": "recommend-20170904-8811aa", "estimator": "blend"}
RECOMMENDER |= {"promoted": False, "metrics": {"ndcg": 0.41, "recall": 0.11}}
RECOMMENDER |= {"why": "It is not better than the model in use: 0.41 and 0.42."}
RECOMMENDER |= {"baselines": {"popular": {"ndcg": 0.21, "recall": 0.08}}}
BETTER = {**MODEL, "promoted": True, "rung": "", "customers": 2206, "base_rate": 0.312}
BETTER |= {"why": "It is better than the model in use on all three periods."}
BETTER |= {"baselines": JUDGED["baselines"]}
CUSTOMERS = {"as_of": AT, "size": 2469, "buyers": 2400, "active": 1802, "active_days": 56}
CUSTOMERS |= {"order": "spent", "has_amounts": True, "audience": "city = Berlin", "note": ""}
CUSTOMERS["currency"] = "USD"
CUSTOMERS["customers"] = [
    {"customer": "G2VX-HM34", "orders": 120 - number, "spent": 9120.5 - number}
    | {"first_order": AT, "last_order": AT}
    for number in range(24)
]
TOLD = {"campaign_id": "k7m2x9", "name": NAME, "state": "live", "rule": "High risk"}
TOLD |= {"model_version": VERSION, "churn_probability": 0.62, "tier": "high", "action": "coupon"}
TOLD |= {"group": "treatment", "probability": 0.85, "variant": "A", "variant_probability": 0.5}
TOLD |= {"drafted_by": ANALYST, "decisions": [{"by": LEAD, "decision": "approve", "at": AT}]}
TOLD |= {"sent": {"channel": "email", "state": "sent", "at": AT, "error_code": None}}
TOLD |= {"coupon": {"state": "issued"}, "reactions": [{"kind": "open", "at": AT}]}
SCORED = {"as_of": AT, "model_version": VERSION, "churn_probability": 0.62, "tier": "high"}
DECISIONS = {"customer_id": "1243", "pseudonym": WHO, "as_of": AT, "rule": "High risk"}
DECISIONS |= {"consent": {"email": "given", "sms": "unknown", "whatsapp": "refused"}, "more": 2}
DECISIONS |= {"exclusions": [{"code": "frequency_cap", "text": "contacted too recently"}]}
DECISIONS |= {"scores": [{**SCORED, "reasons": ["no order for 31 days", "20 orders ever"]}] * 3}
DECISIONS |= {"campaigns": [TOLD, {**TOLD, "group": "control", "sent": None}], "merged": None}
SALES = {"first": "2017-09-25", "last": "2017-10-01", "days": 7, "as_of": AT, "is_over": False}
SALES |= {"revenue": 91947.2, "orders": 3120, "customers": 1395, "new": 12, "note": ""}
SALES |= {"before": {"revenue": 93756.1, "orders": 3201, "customers": 1293, "new": 9}}
SALES |= {"currency": "USD", "audience": "vips"}
QUOTE = {"customer": "G2VX-HM34", "text": "The parcel came two weeks late …", "stars": 1}
THEME = {"number": 3, "title": "late parcel, still waiting, two weeks", "texts": 14, "before": 8}
THEME |= {"phrases": ["late parcel", "still waiting", "two weeks"], "name": "", "customers": 13}
THEME |= {"complaints": 12, "revenue_at_risk": 1790.0, "quotes": [QUOTE] * 3}
RELEASED = {
    "subject": "audiences",
    "period": "2017-W40",
    "by": "U0ANALYST",
    "epsilon": 0.25,
    "delta": 0.0,
    "at": AT,
    "figures": [
        {"name": "vips", "unit": "customers", "value": 412, "low": 388, "high": 436},
        {"name": "sleepers", "unit": "customers", "value": 6, "low": 0, "high": 30},
    ],
}
NOISY_DIGEST = {
    **RELEASED,
    "subject": "digest",
    "last_day": AT,
    "quiet_days": 28,
    "cap": 500,
    "currency": "USD",
    "figures": [
        {"name": "active", "unit": "customers", "value": 1_412, "low": 1_376, "high": 1_448},
        {"name": "lapsed", "unit": "customers", "value": 61, "low": 25, "high": 97},
        {"name": "sales", "unit": "money", "value": 48_310, "low": 30_330, "high": 66_290},
    ],
}
PRIVACY_BUDGET = {
    "budget": 1.0,
    "spent": 0.25,
    "cost": 0.25,
    "until": AT,
    "releases": [
        RELEASED,
        {**RELEASED, "subject": "model", "period": "20170904-51", "epsilon": 2.0},
    ],
}

VOICES = {"since": AT, "until": AT, "known": 412, "needed": 60, "texts": 31, "customers": 28}
VOICES |= {"before": 22, "revenue_at_risk": 2410.0, "themes": [THEME] * 12, "currency": "USD"}
VOICES |= {
    "note": "The newest event is of 01 Oct 2017, so this is as of the day after, not of today."
}
PROGRAMME = {"since": AT, "verdict": "gain", "campaigns": 3, "treated": 2320, "held_out": 122}
PROGRAMME |= {"share": 0.05, "simulated": True}
PROGRAMME["months"] = [
    {"month": "2017-10", "profit": None, "low": None, "high": None},
    {"month": "2017-11", "profit": 310.0, "low": 20.0, "high": 610.0},
]
KEPT = {"name": NAME, "promised": PROMISE, "measured": PROMISE, "held": True, "overlaps": True}
PROMISES = {"campaigns": [KEPT] * 3, "held": 3, "overlapping": 3, "unreadable": 1}
PROMISES |= {"promised": PROMISE, "measured": PROMISE, "simulated": True}
ROWS = {"rows_read": 1240, "rows_accepted": 1180, "rows_duplicate": 48, "rows_quarantined": 12}
ERASED, NAMED = {"events": 214, "scores": 9}, {"id": "k7m2x9", "name": NAME}
SHRUNK = {"file": "orders.csv", "rows": 480, "rows_before": 1240}
TRAINED = {"horizon_days": 28, "untrained": [], "note": ""}
MASKED = {"masked": True, "no_address": True, "assumed_send": AT}
BERLIN = {"rest": 0, "customers": 311, "at_risk": 41, "revenue_at_risk": 812.5}
BREAKDOWN = {"by": "city", "audience": "lapsing", "cohort_tiers": ["high", "medium"]}
BREAKDOWN["breakdown"] = [{"value": city, **BERLIN} for city in ("Berlin", "Hamburg", None)]
DEFINITION = {"horizon_days": 28, "active_within_days": 56, "source": "person"}
RULE = {"name": "High risk", "tiers": ["high"], "action": "coupon", "discount": 0.15, "face": 0.0}
RULE |= {"min_order": 0.0, "own": None, "categories": []}
POLICY = {"version": 2, "currency": "USD", "may_change": True}
POLICY["rules"] = [RULE, {**RULE, "name": "Low risk", "action": "nothing", "discount": 0.0}]
POLICY["settings"] = [
    {"place": place, "label": label, "kind": kind, "value": value, "file": value, "changed": True}
    for place, label, kind, value in (
        ("campaign.budget", "Budget of a campaign", "money", 25_000),
        ("campaign.holdout", "Hold-out group", "share", 0.15),
        ("campaign.quiet_hours", "Quiet hours", "hours", ""),
        ("second_approver.audience", "Two approvers: customers above", "whole", 5_000),
        ("offer.call_cost", "Cost of a call", "money", 4.0),
        ("rules.High risk.discount", "Discount: High risk", "share", 0.15),
    )
]
EDITED = {"place": "campaign.budget", "before": None, "after": 5_000, "file": 25_000}
POLICY_VERSIONS = [{"version": 2, "by": ADMIN, "at": AT, "changes": [EDITED]}]
PLANNED = {"campaign_id": "k7m2x9", "name": NAME, "state": "submitted", "is_decided": False}
PLANNED |= {"sends_at": "2017-10-03T09:00:00+00:00", "ends_at": "2017-10-31T09:00:00+00:00"}
PLANNED |= {"customers": 532, "holiday": "German Unity Day"}
RUNNING = {**PLANNED, "campaign_id": "b3", "state": "live", "sends_at": "2017-09-20T09:00:00+00:00"}
CALENDAR = {"start": AT, "end": "2017-11-13T12:00:00+00:00", "country": ""}
CALENDAR |= {"campaigns": [RUNNING, PLANNED]}
CALENDAR |= {"shared": [{"first": "b3", "second": "k7m2x9", "customers": 41}]}
CALENDAR["entries"] = [
    {"on": day, "week": "2017-10-02", "kind": kind, "what": what}
    for day, kind, what in (
        ("2017-10-03", "holiday", "German Unity Day"),
        ("2017-10-03", "sends", "k7m2x9"),
        ("2017-10-04", "ends", "b3"),
    )
]
WEBHOOK = {"name": "shop", "topic": "orders/create", "received_at": AT}
WEBHOOK |= {"reason": "unreadable: RecursionError"}


TESTED = {"variants": [{"name": "B", "message": {"subject": "Only for you", "text": ""}}]}
TESTED["variants"][0]["discount"] = None
TESTED |= {"share": 0.3, "days": 7, "metric": "orders"}
COMPARED = {"day": 7, "days": 7, "metric": "orders", "has_enough": True, "winner": "B"}
COMPARED["variants"] = [
    {"name": "A", "customers": 400, "buyers": 41, "orders": 0.11, "profit": 1.2},
    {"name": "B", "customers": 401, "buyers": 70, "orders": 0.19, "profit": 2.1},
]
for figures, opened in zip(COMPARED["variants"], (120, 160), strict=True):
    figures |= {"delivered": 398, "opened": opened, "clicked": 44}
COMPARED["contrasts"] = [
    {"first": "A", "second": "B", "metric": "orders"}
    | {"per_customer": -0.08, "low": -0.14, "high": -0.02}
]


EARNED = {name: {"value": 1.2, "low": 0.4, "high": 2.0} for name in ("ips", "dr")}
EARNED |= {"effective": 210.5}
OFFERS = {"enough": True, "earlier": 1, "learned": EARNED, "gain": EARNED["dr"]}
OFFERS["arms"] = [{"name": name, **EARNED} for name in "AB"]
OFFERS["choices"] = [{"rule": "High risk", "name": "B"}, {"rule": "Medium risk", "name": "A"}]
OFFERS["changes"] = {"rules.High risk.discount": {"before": 0.15, "after": 0.1}}
PROPOSAL = {"id": 3, "campaign_id": "k7m2x9", "name": NAME, "currency": "USD", "state": "open"}
PROPOSAL |= {"decided_by": None, "reason": None, "version": None, "evidence": OFFERS}
PROPOSAL["changes"] = [{"place": "rules.High risk.discount", "before": 0.15, "after": 0.1}]
PROPOSALS = [PROPOSAL, {**PROPOSAL, "state": "approved", "decided_by": "U0LEAD", "version": 4}]
PROPOSALS += [{**PROPOSAL, "state": "rejected", "decided_by": "U0LEAD", "reason": "Too costly"}]


AUDIT = {
    "steps": [
        {
            "entry": number,
            "at": AT,
            "actor": "U0LEAD",
            "action": "approve",
            "version": 2,
            "why": "The offer is *too* high, <b>see</b> the plan",
            "system_user": "root",
        }
        for number in range(90)
    ],
    "problems": [{"fault": "changed", "entry": 7}, {"fault": "cut", "entry": 0}],
}


def campaign(state: str = "submitted", **columns: Any) -> dict[str, Any]:
    """Return a campaign's values for templates."""
    named = {"id": "k7m2x9", "name": NAME, "state": state, "version": 2, "salt": "s"}
    place = {"post_key": "job:drafting", "channel": CHANNEL}
    people = {"drafted_by": ANALYST, "submitted_by": ANALYST, "decided_by": LEAD}
    moments = (
        "created_at",
        "submitted_at",
        "expires_at",
        "send_at",
        "window_ends_at",
        "decided_at",
    )
    body = a_body().model_dump(mode="json")
    reason = "The discount is too high for regular customers"
    row = named | place | people | dict.fromkeys(moments, NOON) | {"body": body, "reason": reason}
    return campaign_data(Campaign(**row, **columns))


def recorded_values() -> dict[str, dict[str, Any]]:
    """Return what `tests.bot.record_messages` has recorded, by template."""
    recorded: dict[str, dict[str, Any]] = json.loads(VALUES.read_text(encoding="utf-8"))
    return recorded


def samples() -> dict[str, dict[str, Any]]:
    """Return values by template."""
    recorded = recorded_values()
    live, closed, cohort = campaign("live"), campaign("closed"), recorded["sweep/cohort"]
    own = {
        "audience/breakdown": {**BREAKDOWN, "has_amounts": True},
        "audience/deleted": {"name": "lapsing"},
        "source/file_imported": {
            "name": DROPPED["name"],
            "report": {**ROWS, "quarantine_text": {"amount is no number": 12}},
        },
        "source/list": {
            "sources": [SOURCE, {**SOURCE, "problem": None}],
            "connections": ["klaviyo"],
        },
        "source/over": {"name": "orders", "problem": "silent"},
        "source/problem": {"name": "orders", "problem": "shrunk", "facts": SHRUNK},
        "source/pulled": {**PULL, "name": "orders", "facts": {}},
        "source/quarantine": {
            "webhooks": [{**WEBHOOK, "number": n, "has_content": n % 2 == 0} for n in range(30)],
            **{"tried": 2, "deleted": None},
        },
        "source/show": {**SOURCE, "runs": [PULL] * 10},
        "audience/list": {"audiences": [AUDIENCE, {**AUDIENCE, "exclude": True}]},
        "audience/show": AUDIENCE,
        "audience/week": {**AUDIENCE, "customers_before": 37, "new": 9, "left": 5},
        "bot/definition": {"definition": DEFINITION, "changed": True, "retired": VERSION},
        "bot/certificate": {},
        "bot/erased": {},
        "bot/periods": {
            "periods": [period.as_dict() for period in PERIODS],
            "budget": PRIVACY_BUDGET,
        },
        "privacy/budget": PRIVACY_BUDGET,
        "privacy/released": RELEASED,
        "privacy/released_file": RELEASED,
        "digest/noisy": NOISY_DIGEST,
        "bot/forgotten": {"number_of_ids": 2, "erased": ERASED, "platforms": PLATFORMS},
        "bot/brand": BRAND,
        "bot/policy": POLICY,
        "bot/policy_edit": POLICY,
        "bot/audit_head": {"head": "0f" * 32, "day": AT[:10], "faults": 2},
        "bot/policy_history": {"versions": POLICY_VERSIONS},
        "bot/policy_proposal": {"proposal": PROPOSAL},
        "bot/policy_proposals": {"proposals": PROPOSALS, "may_decide": True},
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
        "campaign/audit": {"campaign": PLANNED, "number": 140, **AUDIT},
        "campaign/calls": {"campaign": NAMED, "counts": CALLS, "calls": [CALL] * 10},
        "campaign/my_calls": {"calls": [{**CALL, "campaign": NAME, "campaign_id": "k7m2x9"}] * 5},
        "campaign/calendar": CALENDAR,
        "campaign/card": {"campaign": campaign()},
        "campaign/csv": {"campaign": live, "part": "codes", "rows": 453},
        "campaign/held": {"campaign": live, "copies": [HELD] * 5, "more": 2},
        "campaign/list": {"campaigns": [campaign(), live, campaign("draft")]},
        "campaign/variants": {
            "campaign": {**campaign("live", test_result=COMPARED), "test": TESTED}
            | {"variants": {each["name"]: each["message"] for each in TESTED["variants"]}}
        },
        "campaign/look": {"campaign": live, "look": MEASURED, "simulated": False, "newest": None},
        "campaign/misuse": {"name": NAME, "uses": [USE] * 3, "more": 1},
        "campaign/preview": {**MASKED, "name": NAME, "copies": [COPY] * 5},
        "campaign/measured": {"campaign": closed, "measured": MEASURED},
        "campaign/next": {"campaign": live, "files": {"csv": 453, "call": 2}},
        "campaign/offers": {"campaign": closed, "measured": OFFERS},
        "campaign/result": {"campaign": closed, "measured": MEASURED, "with_chart": False}
        | {"treated": 453, "control": 79},
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
        "report/promises": PROMISES,
        "retrain/first": {**TRAINED, "churn": {**MODEL, "promoted": True}},
        "retrain/done": {**TRAINED, "models": [BETTER, RECOMMENDER], "cutoff": MODEL["cutoff"]},
        "schedule/added": {**SCHEDULE, "stranger": True},
        "schedule/imported": {"report": {"table": "events", **ROWS}},
        "connect/refused": {"name": "shop"},
        "connect/set_aside": {"name": "shop", "code": "changed_schema", "number": 3}
        | {"detail": "line_items"},
        "connect/platform": {"name": "klaviyo", "code": "access_denied"},
        "connect/profile_deletion": {"name": "klaviyo", "kind": "klaviyo", "erased_at": AT}
        | {"code": "scope_missing"},
        "connect/data_request": {"name": "shop", "rows": 214},
        "schedule/list": {"schedules": [SCHEDULE] * 3, "may_change": True},
        "alert/list": {
            "alerts": [{**ALERT, "status": status} for status in ("on", "snoozed", "muted")],
            "may_change": True,
        },
        "alert/test": {**ALERT, "status": "muted", "kind": "customers", "days": 90}
        | {"every_days": 7, "false_alarms": 0.01}
        | {"would_have_fired": [{"at": AT, "customers": number} for number in (3, 8)]},
        "alert/fired": {
            "alerts": [
                {**FIRED, "kind": "customers", "customers": 5, "named": ["G2VX-HM34", "V556-85E7"]}
                | {"condition_words": "last order less than 1 day ago", "facts": {"total": 31}}
                | {"list": "sweep --tier low --where «last_order < 1d»"},
                {**FIRED, "kind": "lapses rise", "customers": 61, "named": [], "facts": LAPSES},
            ],
            "capped": 2,
            "cap": 5,
        },
        "campaign/holdout": {"share": 0.05},
        "bot/glossary": {"terms": list(glossary.ALIASES)},
        "customers/list": CUSTOMERS,
        "customers/why": DECISIONS,
        "sales/period": SALES,
        "voices/week": VOICES,
        "voices/quotes": VOICES,
        "voices/renamed": {"number": 3, "name": "Late parcels", "phrases": THEME["phrases"]},
        "data/pictures": {"items": 412, "read": 38, "waiting": 3, "is_catalogue": True, "shown": 10}
        | {"skipped": [{"item_id": f"SKU-<{n}>", "problem": "damaged"} for n in range(12)]},
        "report/programme": PROGRAMME,
        "talk/ran": TALK,
        "talk/heard": {
            "text": "who is at risk in <Berlin> & Graz?",
            "source": "slack",
            "job": "j1",
        },
        "sweep/cohort": {**cohort, "has_amounts": True, "cohort_tiers": [], "average": 0.31}
        | {"order_by": "lost_margin"}
        | {"groups": {"active": 2_206, "lapsed": 2_630, "one_time": 8_411}},
        "sweep/more": {**cohort, "has_amounts": True, "first": 25}
        | {"customers": cohort["customers"] * 2},
        "shop/difference": {"shop": "tea-shop", "missing": 3, "extra": 2, "foreign": 1},
        "shop/problem": {"shop": "tea-shop", "code": "plan_limit", "detail": "limit"}
        | {"campaign": {"name": NAME, "campaign_id": "k7m2x9"}, "codes": 10_000, "waits": True},
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
