"""Count cohorts, customers and sales, and what the campaigns earn; without a chart or a page."""

from retention import clock
from retention.campaigns.measurement.programme_result import programme_result
from retention.campaigns.planning.product_details import average_margin
from retention.campaigns.planning.programme_holdout import require_holdout
from retention.db import Transaction
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.lake import MAX_FRESH_DAYS
from retention.registry.churn_definition import ensure_definition
from retention.reports import promises
from retention.reports.cohorts import cohorts
from retention.reports.shop_figures import customer_figures, sales_figures
from retention.reports.voices import WEEK, voices
from retention.risk.policy import load_policy
from retention.text import gettext
from retention.texts import theme_store
from workers.customers.audience_filter import full_name, members_of
from workers.job_requests import Cohort, Customers, ProgrammeReport, PromisesReport, Sales, Voices
from workers.tasks.interface import Context, Outcome, Post


def run_cohort(request: Cohort, context: Context) -> Outcome:
    """Count the cohorts without naming a customer."""
    lake = Lake.open(context.settings)
    as_of = lake.as_of(request.as_of, 31)
    customers = None
    if request.audience or request.where:
        found = members_of(lake, context, request.audience, request.where, as_of.at)
        customers = found.customers
    report = cohorts(lake, as_of.at, request.months, customers)
    data = {
        **report.as_dict(),
        "note": as_of.note,
        "audience": full_name(request.audience, request.where) or None,
    }
    return Outcome(data, (Post("cohort/table", data),))


def run_customers(request: Customers, context: Context) -> Outcome:
    """Count the customers and list those with the most orders, spending or the newest."""
    lake = Lake.open(context.settings)
    definition = ensure_definition(lake, context.database)
    as_of = lake.as_of(request.as_of, definition.horizon_days)
    members = None
    if request.audience or request.where:
        members = members_of(lake, context, request.audience, request.where, as_of.at)
    with context.database.reading() as session:
        figures = customer_figures(
            lake,
            session,
            as_of.at,
            active_days=definition.active_within_days,
            customers=members.customers if members else None,
            order=request.order,
            top=request.top,
        )
    warnings = members.warnings if members else ()
    data = {
        **figures,
        "currency": lake.currency(context.settings),
        "audience": full_name(request.audience, request.where) or None,
        "note": " ".join(part for part in (as_of.note, *warnings) if part),
    }
    return Outcome(data, (Post("customers/list", data),))


def run_sales(request: Sales, context: Context) -> Outcome:
    """Sum up the orders of the days, and compare them with as many days before."""
    lake, now = Lake.open(context.settings), clock.now()
    members = None
    if request.audience or request.where:
        members = members_of(lake, context, request.audience, request.where, now)
    figures = sales_figures(
        lake, request.first, request.last, now, members.customers if members else None
    )
    data = {
        **figures,
        "currency": lake.currency(context.settings),
        "audience": full_name(request.audience, request.where) or None,
        "note": " ".join(members.warnings) if members else "",
    }
    return Outcome(data, (Post("sales/period", data),))


def run_voices(request: Voices, context: Context) -> Outcome:
    """Report the themes of what customers wrote, and store them if they are new."""
    lake, database = Lake.open(context.settings), context.database
    as_of = lake.as_of(None, MAX_FRESH_DAYS)
    since = request.since or as_of.at - WEEK
    if since >= as_of.at:
        text = gettext("--since is {since:%Y-%m-%d}, but the data ends on {end:%Y-%m-%d}.")
        message = text.format(since=lake.local(since), end=lake.local(as_of.at))
        raise BadInput(message, field="since")
    report, found = voices(lake, database, since, as_of.at, context.progress)
    data = {**report, "currency": lake.currency(context.settings), "note": as_of.note}
    posts = [Post("voices/week", data)]
    if any(theme["quotes"] for theme in data["themes"]):
        message = f"job:{context.job_id}"
        posts.append(Post("voices/quotes", data, f"{message}:quotes", thread_key=message))

    def apply(session: Transaction) -> None:
        if found is not None:
            theme_store.save(session, found.to_json(), report["known"])

    return Outcome(data, tuple(posts), apply=apply)


def run_programme_report(request: ProgrammeReport, context: Context) -> Outcome:
    """Measure the programme's cumulative profit per month against its hold-out."""
    settings, now = context.settings, context.business_at
    lake, policy = Lake.open(settings), load_policy(settings)
    context.progress(0, 1, gettext("Comparing the customers inside and outside the hold-out"))
    with context.database.reading() as session:
        holdout, since = require_holdout(session, policy)
        margin, _ = average_margin(lake, since, policy.offer.margin)
        result = programme_result(lake, session, holdout, now, margin)
    data = {**result.as_dict(), "currency": lake.currency(settings), "simulated": settings.demo}
    return Outcome(data, (Post("report/programme", data),))


def run_promises_report(request: PromisesReport, context: Context) -> Outcome:
    """Compare all forecasts with their results."""
    with context.database.reading() as session:
        data = promises.report(session)
    return Outcome(data, (Post("report/promises", data),))
