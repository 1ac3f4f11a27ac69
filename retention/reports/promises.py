"""Compare the forecasts of all measured campaigns with their results."""

from math import sqrt
from typing import Any

from sqlalchemy import select

from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement.effects import Z_ALPHA
from retention.db import Transaction
from retention.db.tables import Campaign


def report(session: Transaction) -> dict[str, Any]:
    """Sum forecasts and results, and count how often the interval held.

    Returns: ``campaigns``: one entry per campaign with a readable result, the newest first.
    ``unreadable`` counts the results without a profit. ``held`` counts measured profits within the
    promised interval, unless their own is too wide to judge; ``overlapping`` counts results whose
    own interval overlaps it. ``promised`` and ``measured`` are sums with intervals, or None.

    Notes
    -----
    The forecasts share one assumption about the effect, so their intervals are added. Results of
    different campaigns are independent, so their variances are added.
    """
    entries, unreadable = [], 0
    rows = session.scalars(
        select(Campaign)
        .where(Campaign.team_id == session.settings.team_id, Campaign.result.is_not(None))
        .order_by(Campaign.sent_at.desc(), Campaign.id)
    )
    for campaign in rows:
        if not campaign.result:  # a JSON null
            continue
        data = campaign_data(campaign)
        verdict = data["verdict"]
        if not verdict or not verdict["profit"]:
            unreadable += 1
            continue
        promised, measured = verdict["promised"], verdict["profit"]
        entries.append(
            {
                "campaign_id": campaign.id,
                "name": campaign.name,
                "sent_at": data["sent_at"],
                "currency": data["currency"],
                "outcome": verdict["outcome"],
                "promised": {key: promised[key] for key in ("profit", "low", "high")},
                "measured": {
                    "profit": measured["total"],
                    "low": measured["low"],
                    "high": measured["high"],
                },
                "held": verdict["held"],
                "uncertain": verdict["uncertain"],
                "overlaps": verdict["overlaps"],
                "simulated": bool(data["result"].get("simulated")),
            }
        )
    return {
        "campaigns": entries,
        "unreadable": unreadable,
        "currency": entries[0]["currency"] if entries else "",
        "held": sum(entry["held"] for entry in entries),
        "overlapping": sum(entry["overlaps"] for entry in entries),
        "simulated": any(entry["simulated"] for entry in entries),
        "promised": _sum_promised(entries) if entries else None,
        "measured": _sum_measured(entries) if entries else None,
    }


def _sum_promised(entries: list[dict[str, Any]]) -> dict[str, float]:
    names = ("profit", "low", "high")
    return {key: sum(entry["promised"][key] for entry in entries) for key in names}


def _sum_measured(entries: list[dict[str, Any]]) -> dict[str, float]:
    total = sum(entry["measured"]["profit"] for entry in entries)
    middle = sum((entry["measured"]["low"] + entry["measured"]["high"]) / 2 for entry in entries)
    errors = [
        (entry["measured"]["high"] - entry["measured"]["low"]) / (2 * Z_ALPHA) for entry in entries
    ]
    margin = Z_ALPHA * sqrt(sum(error**2 for error in errors))
    return {"profit": total, "low": middle - margin, "high": middle + margin}
