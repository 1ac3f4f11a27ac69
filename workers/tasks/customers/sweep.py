"""Find customers at risk; the channel sees pseudonyms."""

import logging
import secrets
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from math import isnan
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select

from retention.audiences.breakdown import breakdown
from retention.campaigns.planning.audience import next_rules
from retention.campaigns.planning.offer_terms import next_step
from retention.churn.explaining.facts import days_text, every
from retention.db import Transaction
from retention.db.tables import Cohort, Job
from retention.errors import BadInput, Refused, TooLittleData
from retention.features.catalogue import GROUPS
from retention.lake import Lake
from retention.lake.coverage import check_trainable
from retention.outreach.consent import consent_states
from retention.outreach.pauses import paused_customers
from retention.privacy import pseudonym
from retention.progress import part
from retention.registry import champion
from retention.registry.churn_definition import ensure_definition, fitting_definition
from retention.reports import charts
from retention.risk.policy import load_policy
from retention.risk.sentence import short_reason
from retention.risk.sweep import MAX_EVIDENCE, change_since, sweep
from retention.templating import RAISES, direction
from retention.text import gettext
from retention.texts import signals
from workers import user_roles
from workers.customers.audience_filter import check_fields, list_name, restrict, restrict_where
from workers.job_requests import Sweep
from workers.queue import jobs
from workers.retrain_request import Retrain
from workers.tasks.interface import Attachment, Context, Outcome, Post

if TYPE_CHECKING:
    from retention.registry.churn_definition import ChurnDefinition
    from retention.risk.policy import Policy
    from retention.risk.sweep import Sweep as Swept

log = logging.getLogger(__name__)

DEFAULT_LISTED = 100  # customers in the result
# Customers in the message. More rows do not fit into 12,000 characters; the thread has the next
# ones, up to MAX_EVIDENCE, and the file has all.
DEFAULT_SHOWN, MAX_SHOWN = 10, 24
EARLIER = 50  # cohorts among which the previous list of the same tiers is looked for


def run(request: Sweep, context: Context) -> Outcome:
    """Score all active customers and post the cohort."""
    from retention.registry.model_cache import churn_model

    settings = context.settings
    with context.database.reading() as session:
        row = champion(session, "churn")
    trained = churn_model(settings, row) if row else None
    lake, policy = Lake.open(settings), load_policy(settings)
    signals.update(lake, context.progress)
    check_fields(lake, request.where)
    definition = ensure_definition(lake, context.database)
    swept = sweep(
        lake,
        trained,
        policy,
        window=definition.window,
        as_of=request.as_of,
        tier=request.tier,
        progress=part(context.progress, 0, 10, span=9),
    )
    if request.order == "spend":
        swept = swept.by_spend()
    top = request.top or DEFAULT_LISTED
    lapsed = swept.of_lapsed(policy).as_dict(top) if request.with_lapsed else None
    rows: list[dict[str, Any]] = []
    if request.audience or request.where or request.by:
        with context.database.reading() as session:
            if request.audience:
                swept = restrict(lake, session, swept, request.audience)
            if request.where:
                swept = restrict_where(lake, session, swept, request.where)
            if request.by:
                rows = breakdown(lake, session, swept, request.by)
    keeping = part(context.progress, 9, 10)
    lake.write_scores(context.run_id, partial(swept.stored_parts, keeping))
    currency = lake.currency(settings)
    cohort = Cohort(
        id=secrets.token_hex(4),
        team_id=settings.team_id,
        job_id=context.job_id,
        run_id=context.run_id,
        as_of=swept.as_of,
        model_version=swept.model_version,
        horizon_days=swept.window.horizon_days,
        tiers=list(swept.cohort_tiers),
        size=len(swept.cohort),
        revenue_at_risk=Decimal(f"{swept.revenue_at_risk:.2f}"),
        currency=currency,
        audience=list_name(request.audience, request.where),
        created_by=context.requested_by,
    )

    with context.database.reading() as session:
        earlier = _earlier_cohort(session, cohort)
        by_rules = _list_by_rules(session, cohort)
        steps = _next_steps(session, lake, context, policy, swept, currency, request.top)

    submitted: list[Job] = []

    def publish(session: Transaction) -> None:
        session.add(cohort)
        submitted.clear()  # a commit may be repeated
        training = trained is None and bool(posts) and jobs.is_kind_open(session, Retrain.kind)
        if can_train and not training and (job := start_first_training(session, context)):
            submitted.append(job)
            training = True
        for post in posts:  # they are rendered after this
            post.values["training"] = training

    fitting = fitting_definition(lake, definition) if swept.extreme == "all" else None
    data = {
        **swept.as_dict(top),
        "definition": swept.window._asdict() | {"means": definition.means},
        "cohort_id": cohort.id,
        "currency": currency,
        "top": request.top,
        "fitting_definition": fitting and fitting.as_dict(),
        "change": _change(lake, swept, earlier),
        "list_by_rules": by_rules
        and {"as_of": by_rules.as_of.isoformat(), "customers": by_rules.size},
        "selection_note": swept.selection_note,
        "main_reasons": _main_reasons(swept),
        "audience": request.audience,
        "where": request.where,
        "order": request.order,
        "by": request.by,
        "breakdown": rows,
        "lapsed": lapsed,
    }
    posts = (*_posts(swept, data, steps, context), *_breakdown_posts(data, context))
    can_train = bool(posts) and trained is None and _is_trainable(lake, definition)
    wake = partial(jobs.wake_all, settings, submitted)
    return Outcome(data, posts, apply=publish, runs=("scores",), after_commit=wake)


def start_first_training(session: Transaction, context: Context) -> Job | None:
    """Submit the first training of this installation, once.

    `context`: the sweep. Its person must be allowed to train, within the limits of
    `workers.queue.quotas`.
    Returns: the new job, to be woken after the commit. None if it was submitted before, or refused.
    """
    try:
        user_roles.require(session, context.requested_by, Retrain.role, Retrain.deed)
        submission = jobs.submit(
            session,
            Retrain(),
            requested_by=context.requested_by,
            channel=context.channel,
            idem_key=f"first-model:{context.settings.team_id}",
            announce=False,  # its result is a message of its own, which notifies people
        )
    except Refused as refusal:
        log.info("the first training was not started: %s", refusal)
        return None
    return submission.job if submission.created else None


def _is_trainable(lake: "Lake", definition: "ChurnDefinition") -> bool:
    """Return whether there is enough history to train a churn model."""
    from workers.tasks.models.retrain import training_cutoff

    horizon_days = definition.horizon_days
    try:
        check_trainable(lake, training_cutoff(Retrain(), lake, horizon_days)[0], horizon_days)
    except (BadInput, TooLittleData):
        return False
    return True


def _earlier_cohort(session: Transaction, cohort: Cohort) -> Cohort | None:
    """Return the newest earlier list that can be compared with this one.

    It has the same tiers, audience and horizon. Ranks by rules are not compared with
    probabilities.
    """
    is_by_rules = cohort.model_version == "rules"
    for row in _lists_like(session, cohort):
        if row.as_of < cohort.as_of and (row.model_version == "rules") == is_by_rules:
            return row
    return None


def _list_by_rules(session: Transaction, cohort: Cohort) -> Cohort | None:
    """Return the list before this one if rules made it, and a model made this one."""
    last = next(_lists_like(session, cohort), None)
    if last is None or cohort.model_version == "rules" or last.model_version != "rules":
        return None
    return last


def _lists_like(session: Transaction, cohort: Cohort) -> Iterator[Cohort]:
    """Return the lists of the same tiers, audience and horizon, newest first."""
    newest = (
        select(Cohort)
        .where(Cohort.team_id == cohort.team_id, Cohort.as_of <= cohort.as_of)
        .order_by(Cohort.as_of.desc(), Cohort.created_at.desc())
        .limit(EARLIER)
    )
    kind = attrgetter("tiers", "audience", "horizon_days")
    return (row for row in session.scalars(newest) if kind(row) == kind(cohort))


def _change(lake: "Lake", swept: "Swept", earlier: Cohort | None) -> dict[str, Any] | None:
    if earlier is None:
        return None
    wanted = ("customer_id", "tier", "churn_probability", "list_rank")
    scores = lake.all_scores(earlier.run_id).select(*wanted).execute()
    change = change_since(swept, scores, as_of=earlier.as_of, model_version=earlier.model_version)
    return change.as_dict() if change else None


def _next_steps(
    session: Transaction,
    lake: "Lake",
    context: Context,
    policy: "Policy",
    swept: "Swept",
    currency: str,
    top: int | None,
) -> dict[str, str]:
    """Return what the policy would do for the customers of the message, in a few words."""
    if context.channel is None:
        return {}
    paused = lake.identities.resolved(paused_customers(session, context.business_at))
    shown = list(swept.cohort.customer_id.head(_wanted(top)))
    scores = swept.group
    scores = scores.assign(reasons=scores.customer_id.map(swept.listed_reasons))
    if swept.cohort_tiers:  # everyone of these tiers, so nobody was chosen for the list's rule
        scores = scores.drop(columns="list_rank")
    rules = next_rules(lake, session, policy, scores, shown)
    # Consent explains a missing offer only if there would be one with consent.
    missing = [name for name, rule in rules.items() if rule is None or rule.action == "nothing"]
    consent_of: dict[str, str] = {}
    if missing:
        offered = next_rules(lake, session, policy, scores, missing, consent="given")
        states = consent_states(lake, session, pd.Series(list(offered)))
        pairs = zip(offered, states, strict=True)
        consent_of = {one: state for one, state in pairs if offered[one] is not None}
    return {
        customer: gettext("excluded")
        if customer in paused
        else next_step(rule, currency, consent_of.get(customer, "given"))
        for customer, rule in rules.items()
    }


def _breakdown_posts(data: dict[str, Any], context: Context) -> tuple[Post, ...]:
    """Return the breakdown's table for the thread of the list."""
    if context.channel is None or not data["breakdown"]:
        return ()
    shown = ("breakdown", "by", "currency", "has_amounts", "cohort_tiers", "audience")
    message = f"job:{context.job_id}"
    values = {name: data[name] for name in shown}
    return (Post("audience/breakdown", values, key=f"{message}:by", thread_key=message),)


def _posts(
    swept: "Swept", data: dict[str, Any], steps: dict[str, str], context: Context
) -> tuple[Post, ...]:
    """Return the list and, for its thread, further rows; the terminal has no messages."""
    if context.channel is None:
        return ()

    bar, text = charts.tier_bar(swept.tiers), charts.tier_bar_text(swept.tiers)
    picture = Attachment("sweep.png", "image/png", bar, text)
    rows = _rows(swept, steps, context.settings.key, _wanted(data["top"]))
    shown = (
        *("cohort_id", "currency", "extreme", "definition", "groups", "average", "order_by"),
        *("fitting_definition", "change", "list_by_rules", "audience", "where", "order"),
    )
    values = {
        **{name: data[name] for name in shown},
        "as_of": swept.as_of.isoformat(),
        "note": swept.note,
        "model_version": swept.model_version,
        "tiers": swept.tiers,
        "cohort_tiers": list(swept.cohort_tiers),
        "scored": len(swept.scores),
        "size": len(swept.cohort),
        "revenue_at_risk": swept.revenue_at_risk,
        "has_amounts": swept.has_amounts,
        "customers": rows[:MAX_SHOWN],
        "further": len(rows[MAX_SHOWN:]),
    }
    further = tuple(
        Post(
            "sweep/more",
            {**values, "customers": rows[start : start + MAX_SHOWN], "first": start + 1},
            key=f"job:{context.job_id}:from-{start + 1}",
            thread_key=f"job:{context.job_id}",
        )
        for start in range(MAX_SHOWN, len(rows), MAX_SHOWN)
    )
    return (Post("sweep/cohort", values, images={"chart": picture}), *further)


def _wanted(top: int | None) -> int:
    """Return the number of customers in the message and its thread."""
    return min(top or DEFAULT_SHOWN, MAX_EVIDENCE)


def _main_reasons(swept: "Swept") -> list[tuple[str, int]]:
    """Count the first reasons of the cohort."""
    counted = Counter(
        reasons[0]["feature"]
        for reasons in swept.cohort.reasons
        if reasons and direction(reasons[0]) == RAISES and reasons[0]["feature"] in GROUPS
    )
    return counted.most_common(4)


def _rows(swept: "Swept", steps: dict[str, str], key: bytes, shown: int) -> list[dict[str, Any]]:
    """Return the rows of the message's table: pseudonyms instead of ids."""
    rows, evidences = [], swept.evidence
    for customer in swept.cohort.head(shown).itertuples():
        evidence = evidences[customer.customer_id]
        usual = evidence.usual_gap_days
        rows.append(
            {
                "customer": pseudonym(key, customer.customer_id),
                "churn_probability": customer.churn_probability,
                "tier": customer.tier,
                "expected_value": customer.expected_value,
                "silent": days_text(evidence.silent_days)
                if evidence.silent_days >= 1
                else gettext("just ordered"),
                "rhythm": gettext("one order") if isnan(usual) else every(usual),
                "why": short_reason(customer.clauses, customer.told_as),
                "step": steps[customer.customer_id],
            }
        )
    return rows
