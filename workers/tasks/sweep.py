"""Find customers at risk; the channel sees pseudonyms."""

import secrets
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention.db.tables import Cohort
from retention.features.catalogue import GROUPS
from retention.templating import RAISES, direction
from retention.text import gettext
from workers.audiences import restrict
from workers.requests import Sweep
from workers.tasks.interface import Attachment, Context, Outcome, Post

if TYPE_CHECKING:
    from retention.risk.policy import Policy
    from retention.risk.sweep import Sweep as Swept

DEFAULT_LISTED = 100  # customers in the result
# Customers in the message, the first eight with all their reasons. More do not fit into 12,000
# characters; the file has all.
DEFAULT_SHOWN, MAX_SHOWN = 8, 40


def run(request: Sweep, context: Context) -> Outcome:
    """Score all active customers and post the cohort.

    Parameters
    ----------
    request : Sweep
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The cohort with a chart.
    """
    from retention.audiences.breakdown import breakdown
    from retention.lake import Lake
    from retention.registry import champion
    from retention.registry.churn_definition import ensure_definition, fitting_definition
    from retention.registry.model_cache import churn_model
    from retention.risk.policy import load_policy
    from retention.risk.sweep import sweep

    settings = context.settings
    with context.database.reading() as session:
        row = champion(session, settings, "churn")
    trained = churn_model(settings, row) if row else None
    lake, policy = Lake.open(settings), load_policy(settings)
    definition = ensure_definition(lake, context.database, settings)
    swept = sweep(
        lake,
        trained,
        policy,
        horizon_days=definition.horizon_days,
        active_within_days=definition.active_within_days,
        as_of=request.as_of,
        tier=request.tier,
        top=request.top or DEFAULT_LISTED,
        progress=context.progress,
    )
    rows: list[dict[str, Any]] = []
    if request.audience or request.by:
        with context.database.reading() as session:
            if request.audience:
                swept = restrict(lake, session, settings, swept, request.audience)
            if request.by:
                rows = breakdown(lake, session, settings, swept, request.by)
    context.progress(1, 1, gettext("Keeping the scores"))
    lake.write_scores(context.run_id, swept.scores)
    currency = lake.currency(settings)
    cohort = Cohort(
        id=secrets.token_hex(4),
        team_id=settings.team_id,
        job_id=context.job_id,
        run_id=context.run_id,
        as_of=swept.as_of,
        model_version=swept.model_version,
        horizon_days=swept.horizon_days,
        tiers=list(swept.cohort_tiers),
        size=len(swept.cohort),
        revenue_at_risk=Decimal(f"{swept.revenue_at_risk:.2f}"),
        currency=currency,
        audience=request.audience,
        created_by=context.requested_by,
    )

    def publish(session: Session) -> None:
        session.add(cohort)

    fitting = fitting_definition(lake, definition) if swept.extreme == "all" else None
    data = {
        **swept.as_dict(),
        "cohort_id": cohort.id,
        "currency": currency,
        "top": request.top,
        "fitting_definition": fitting and fitting.as_dict(),
        "audience": request.audience,
        "by": request.by,
        "breakdown": rows,
    }
    posts = (*_posts(swept, data, policy, context), *_breakdown_posts(data, context))
    return Outcome(data, posts, apply=publish, runs=("scores",))


def _breakdown_posts(data: dict[str, Any], context: Context) -> tuple[Post, ...]:
    """Return the breakdown's table for the thread of the list."""
    if context.channel is None or not data["breakdown"]:
        return ()
    shown = ("breakdown", "by", "currency", "has_amounts", "cohort_tiers", "audience")
    message = f"job:{context.job_id}"
    values = {name: data[name] for name in shown}
    return (Post("audience/breakdown", values, key=f"{message}:by", thread_key=message),)


def _posts(
    swept: "Swept", data: dict[str, Any], policy: "Policy", context: Context
) -> tuple[Post, ...]:
    """Return the message of a channel; the terminal has none, so no chart is drawn for it."""
    if context.channel is None:
        return ()
    from retention.reports.sweep_chart import alt_text, chart

    picture = Attachment("sweep.png", "image/png", chart(swept, policy), alt_text(swept))
    values = {
        **_channel_values(
            swept,
            data["cohort_id"],
            data["currency"],
            context.settings.key,
            min(data["top"] or DEFAULT_SHOWN, MAX_SHOWN),
        ),
        "extreme": data["extreme"],
        "definition": data["definition"],
        "fitting_definition": data["fitting_definition"],
    }
    return (Post("sweep/cohort", values, images={"chart": picture}),)


def _channel_values(
    swept: "Swept", cohort_id: str, currency: str, key: bytes, shown: int
) -> dict[str, Any]:
    """Return the values for a channel: counts, reasons, pseudonyms."""
    from retention.privacy import pseudonym

    main_reasons = Counter(
        reasons[0]["feature"]
        for reasons in swept.cohort.reasons
        if reasons and direction(reasons[0]) == RAISES and reasons[0]["feature"] in GROUPS
    )
    customers = [
        {**customer, "customer": pseudonym(key, customer["customer_id"])}
        for customer in swept.cohort.head(shown).to_dict("records")
    ]
    for customer in customers:
        del customer["customer_id"]
    return {
        "cohort_id": cohort_id,
        "as_of": swept.as_of.isoformat(),
        "note": swept.note,
        "selection_note": swept.selection_note,
        "model_version": swept.model_version,
        "tiers": swept.tiers,
        "cohort_tiers": list(swept.cohort_tiers),
        "scored": len(swept.scores),
        "size": len(swept.cohort),
        "revenue_at_risk": swept.revenue_at_risk,
        "has_amounts": swept.has_amounts,
        "reasons": main_reasons.most_common(4),
        "customers": customers,
        "currency": currency,
    }
