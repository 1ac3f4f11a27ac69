"""Report on models: a version's card, the champion's health and the recommendations."""

from datetime import timedelta

from retention.db import Transaction
from retention.lake import Lake
from retention.monitoring import describe, was_alerted
from retention.monitoring.health import check
from retention.reports import recommendations
from retention.reports.card import card
from workers.job_requests import ModelCard, Monitor, RecommendReport
from workers.model_decisions import decay_key
from workers.tasks.interface import Attachment, Context, Outcome, Post, page_post


def run_monitor(request: Monitor, context: Context) -> Outcome:
    """Check the model; a scheduled check only posts warnings."""
    settings = context.settings
    check_result = check(Lake.open(settings), context.database, progress=context.progress)
    record = check_result.record(settings, context.job_id)
    shown = {"health": describe(record), "job_id": context.job_id, "retraining": None}

    def publish(session: Transaction) -> tuple[Post, ...]:
        since = check_result.at - timedelta(days=check_result.row.horizon_days)
        checks = [reason["check"] for reason in check_result.reasons]
        decayed = check_result.state == "decayed"
        is_repeated = decayed and was_alerted(session, check_result.row.version, checks, since)
        record.alerted = decayed and not is_repeated and context.channel is not None
        session.add(record)
        alert = record.alerted and request.scheduled
        return (Post("monitor/alert", shown, key=decay_key(context.job_id)),) if alert else ()

    posts = () if request.scheduled else (Post("monitor/health", shown),)
    return Outcome(shown, posts, apply=publish)


def run_model_card(request: ModelCard, context: Context) -> Outcome:
    """Make the card of a version or the champion."""
    settings, lake = context.settings, Lake.open(context.settings)
    made = card(lake, context.database, version=request.version, progress=context.progress)
    version, message = made.data["version"], f"job:{context.job_id}"
    page = Attachment(f"{version}.html", "text/html", made.html(settings).encode())
    key = f"{message}:{page.mime}"
    posts = (
        Post("models/card", {"card": made.data}),
        Post("models/card_file", {"version": version}, key=key, thread_key=message, file=page),
    )
    return Outcome({"card": made.data}, posts)


def run_recommend_report(request: RecommendReport, context: Context) -> Outcome:
    """Make the recommendation report."""
    report = recommendations.report(
        Lake.open(context.settings),
        context.database,
        days=request.days,
        as_of=request.as_of,
        progress=context.progress,
    )
    chart = report.chart
    picture = Attachment("recommendations.png", "image/png", chart.png, chart.alt_text)
    values = {**report.data, "alt_text": chart.alt_text}
    posts = (
        Post("report/recommend", values, images={"rates": picture}),
        page_post(context, "report/page", report, "recommendations"),
    )
    return Outcome(report.data, posts)
