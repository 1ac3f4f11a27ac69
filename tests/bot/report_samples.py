"""Samples of the report pages, with every part filled in."""

from typing import Any

from tests.bot.message_samples import samples

# One pixel; the size of a chart does not matter here.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhf"
    "DwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
DAY = "2017-10-02T00:00:00+00:00"
DEFINITION = {"horizon_days": 28, "active_within_days": 56, "source": "default", "evidence": {}}
REASON = {"text": "no order for 31 days", "direction": "raises", "weight": 0.8}
TIERS = ("high", "medium", "low")


def _metric(name: str, value: float) -> dict[str, Any]:
    baselines = {"recency": value, "rfm_logistic": value, "bg_nbd": None}
    return {"name": name, "value": value, "mean": value, "sd": 0.01, "baselines": baselines}


CARD: dict[str, Any] = {
    "version": "churn-20170904-51b2c3",
    "state": "champion",
    "estimator": "blend",
    "rung": "The highest rung.",
    "made_at": DAY,
    "cutoff": DAY,
    **DEFINITION,
    "features": 41,
    "seed": 0,
    "code_version": "1.0",
    "fingerprint": "events 12 a1b2",
    "sha256": "0" * 64,
    "calibration": "sigmoid",
    "train_rows": 8200,
    "searched": {
        "boosting": {"tried": 9, "fits": 27, "settings": {"depth": 3}},
        "logistic": {"tried": 9, "fits": 27, "settings": {}},
    },
    "created_by": "U0ANALYST",
    "created_at": DAY,
    "promoted_by": "U0LEAD",
    "promoted_at": DAY,
    "judged_at": DAY,
    "customers": 1900,
    "base_rate": 0.31,
    "metrics": [
        _metric(name, 0.8)
        for name in ("AUC", "top-decile lift", "Brier score", "calibration error (ECE)")
    ],
    "origins": 3,
    "difference": {"mean": -0.01, "low": -0.02, "high": 0.0},
    "checks": [
        {"name": "ece", "passed": True, "text": "ECE 0.021, limit 0.030"},
        {"name": "lift", "passed": False, "text": "lift of the top tenth 2.1 against 2.4"},
    ],
    "segments": [
        {
            "segment": "orders so far",
            "value": value,
            "customers": 950,
            "expected": 0.3,
            "observed": 0.4,
            "auc": 0.7,
            "off": off,
        }
        for value, off in (("one", True), ("two or more", False))
    ],
    "data": {
        "events": 120_000,
        "customers": 2400,
        "first": DAY,
        "last": DAY,
        "unchanged": False,
        "quarantine_text": {"amount is no number": 3},
    },
    "feedback": {"useful": 12, "wrong": 3, "reasons": [{"text": "Orders by phone", "at": DAY}]},
    "history": [{"at": DAY, "action": "trained", "actor": "U0ANALYST", "why": "weekly"}],
    "now": {
        "customers": 2400,
        "sample": 500,
        "methods": ["SHAP"],
        "error": 0.01,
        "asked_twice": 20,
        "agreement": 0.7,
        "fidelity": 0.8,
    },
    "examples": [
        {
            "customer": "k7pa-2mqx",
            "tier": tier,
            "churn_probability": 0.5,
            "reasons": [REASON],
            "counterfactuals": ["had they ordered today: low"],
        }
        for tier in TIERS
    ],
    "limits": ["It sees what was imported and nothing else."],
}

LISTED: dict[str, Any] = {
    "cohort_size": 3,
    "cohort_tiers": [],
    "order_by": "lost_margin",
    "cohort": [
        {
            "customer_id": f"c{number}",
            "tier": tier,
            "churn_probability": 0.7,
            "lost_margin": 3.5,
            "expected_value": 12.5,
            "sentence": "Silent for 80 days; usually orders every 20.",
        }
        for number, tier in enumerate(TIERS)
    ],
}
SWEPT: dict[str, Any] = {
    **LISTED,
    "as_of": DAY,
    "definition": DEFINITION,
    "average": 0.3,
    "tiers": dict.fromkeys(TIERS, 3),
    "groups": {"active": 9, "lapsed": 4, "one_time": 2},
    "revenue_at_risk": 640.0,
    "currency": "USD",
    "has_amounts": True,
    "model_version": "churn-1",
    "listed": LISTED,
    "lapsed": {**LISTED, "cohort_tiers": ["lapsed"], "order_by": "return_value"},
    "most": 500,
    "tables": ["at-risk.csv", "lapsed.csv"],
    "summary": "3 customers, 4 orders",
    "note": "",
}


def report_pages() -> dict[str, dict[str, Any]]:
    """Return the values of each page by the name of its template."""
    messages = samples()
    line = {
        "name": "1",
        "shown": 900,
        "click_rate": 0.1,
        "corrected": 0.2,
        "buy_rate": 0.05,
        "buy_rate_interval": [0.03, 0.07],
        "redeemed": 12,
        "useful": 3,
        "wrong": 1,
    }
    parts = {
        "slots": [line],
        "reasons": [{**line, "name": "buy_again"}],
        "models": [{**line, "name": "none"}],
        "weeks": [{**line, "name": "2017-10-02"}],
        "examined": {"1": 1.0, "2": 0.63},
        "open": 2,
    }
    chart = {"zone": "UTC", "chart": PICTURE, "alt_text": "A chart"}
    picture = {"source": PICTURE, "alt": "A chart"}
    pictures = {"against": picture, "calibration": picture, "drivers": picture}
    return {
        "at_risk": {"zone": "UTC", **SWEPT},
        "digest": messages["digest/details"] | chart,
        "model_card": {"zone": "UTC", "card": CARD, "pictures": pictures},
        "quality": messages["data/quality"] | chart,
        "recommendations": messages["report/recommend"] | parts | chart,
    }
