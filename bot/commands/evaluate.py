"""`evaluate`: backtest the models against simple baselines."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bot.commands.parameters import (
    ACTIVE_WITHIN,
    DATE,
    DAY_OR_TIME,
    DAYS,
    HORIZON,
    TO_READ,
    choice,
    integer,
    list_length,
    option,
    switch,
)
from bot.commands.retrain import ESTIMATORS, RECOMMENDER_NAMES
from bot.commands.tree import Answer, Call, group
from retention import clock
from retention.campaigns.lifecycle.closing import uninformative_campaigns
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.coverage import latest_cutoff
from retention.registry import champion
from retention.registry.churn_definition import definition_in_force, resolve_definition
from retention.registry.model_cache import churn_model
from retention.risk.policy import load_policy, thresholds
from retention.text import gettext
from workers import typed_times

COMMAND = group("evaluate")


CUTOFF = option(
    "--cutoff",
    gettext(
        "Learn from before, judge by what came after; by default the latest day whose horizon is "
        "over."
    ),
    DATE,
    "DATE",
)


def _cutoff(lake: "Lake", requested: datetime | None, horizon_days: int) -> tuple[datetime, str]:
    """Return the cutoff, and a note if none was requested."""
    if requested is not None:
        return requested, ""
    cutoff = latest_cutoff(lake, horizon_days)
    return cutoff, gettext(
        "Cutoff {day:%Y-%m-%d}: the latest whose {days} days are over in the data. Choose another "
        "with --cutoff."
    ).format(day=lake.local(cutoff), days=horizon_days)


@COMMAND.command(
    "churn",
    role="analyst",
    help=gettext(
        "Train on what was known before the cutoff and compare with who really came back."
    ),
)
@CUTOFF
@HORIZON
@ACTIVE_WITHIN
@option("--model", gettext("The kind of model."), choice(*ESTIMATORS), default="auto")
@option(
    "--origins",
    gettext("Judge at the cutoff and N − 1 horizons before it: mean and sd."),
    integer(1, 24),
    "N",
    default=1,
)
@option(
    "--by", gettext("Tell these customers' attributes apart."), metavar="ATTRIBUTE", multiple=True
)
@switch("--learning-curve", gettext("Also learn from fewer customers and snapshots."))
def churn(
    call: Call,
    cutoff: datetime | None,
    horizon: int | None,
    active_within: int | str | None,
    learning_curve: bool,
    **choices: Any,
) -> Answer:
    """Backtest a churn model."""
    from retention.churn.evaluation.evaluate import Plan, evaluate

    lake = call.lake
    with call.database.reading() as session:
        row = champion(session, "churn")
    trained = churn_model(call.settings, row) if row else None
    tiers = thresholds(load_policy(call.settings), trained)
    definition = resolve_definition(
        definition_in_force(lake, call.database),
        horizon,
        "definition" if active_within is None else typed_times.days_or_ever(active_within),
    )
    moment, note = _cutoff(lake, cutoff, definition.horizon_days)
    plan = Plan(
        cutoff=moment,
        window=definition.window,
        tiers=(tiers.high, tiers.medium),
        curve=learning_curve,
        **choices,
    )
    report, _ = evaluate(lake, plan, call.progress)
    return Answer("bot/evaluate_churn", {**report, "note": note})


@COMMAND.command(
    "recommend",
    role="analyst",
    help=gettext("Rank the items for each customer and compare with what they really bought."),
)
@CUTOFF
@option("--horizon", gettext("How long after the cutoff counts."), DAYS, default="28d")
@list_length("--k", 100, gettext("The length of the lists."))
@option("--min-buyers", gettext("Only items so many bought."), integer(), "N", default=5)
@switch("--new-items-only", gettext("Only items a customer had never bought."))
@option(
    "--model",
    gettext("One model alone, by its name."),
    choice(*RECOMMENDER_NAMES),
    "NAME",
    default="auto",
)
def recommend(call: Call, cutoff: datetime | None, horizon: int, **choices: Any) -> Answer:
    """Backtest the recommenders."""
    from retention.recommend import evaluate

    lake = call.lake
    moment, note = _cutoff(lake, cutoff, horizon)
    report = evaluate(lake, cutoff=moment, horizon_days=horizon, progress=call.progress, **choices)
    return Answer("bot/evaluate_recommend", {**report, "note": note})


@COMMAND.command(
    "offers",
    role="analyst",
    help=gettext(
        "Rank each campaign's coupons for the customers who redeemed any, with what was"
        " known at its start."
    ),
)
@option(
    "--offers",
    gettext(
        "campaign_id, starts_at, offer_id, item_id: CSV or Parquet; without it the "
        "Complete Journey's coupons."
    ),
    TO_READ,
    "FILE",
)
@option(
    "--redemptions",
    gettext("campaign_id, customer_id, offer_id, redeemed_at: CSV or Parquet."),
    TO_READ,
    "FILE",
)
@option("--since", gettext("Report only campaigns that began from then on."), DATE, "DATE")
@list_length("--k", 100, gettext("The length of the lists."))
def offers(
    call: Call, offers: Path | None, redemptions: Path | None, since: datetime | None, k: int
) -> Answer:
    """Backtest the ranking of each campaign's coupons."""
    from retention.demo.extracts import coupons
    from retention.recommend.past_offers import evaluate_offers, read_table

    if (offers is None) != (redemptions is None):
        raise BadInput(
            gettext(
                "--offers and --redemptions belong together; give both, or none for the "
                "Complete Journey."
            )
        )
    tables = (read_table(offers), read_table(redemptions)) if offers and redemptions else coupons()
    report = evaluate_offers(call.lake, *tables, since=since, k=k, progress=call.progress)
    return Answer("bot/evaluate_offers", report)


@COMMAND.command(
    "uplift",
    role="analyst",
    help=gettext(
        "Compare uplift learners on a past campaign by cross-validated Qini, beside "
        "risk and random rankings."
    ),
)
@option(
    "--data",
    gettext("A randomised campaign, a row a customer: CSV or Parquet."),
    TO_READ,
    "FILE",
    required=True,
)
@option(
    "--treatment", gettext("The column that says who was treated."), metavar="COL", required=True
)
@option(
    "--outcome",
    gettext("The column of 0 and 1 that says what came of it."),
    metavar="COL",
    required=True,
)
@option(
    "--control",
    gettext("Which value of the treatment means held out, where it is not 0 and 1."),
    metavar="VALUE",
)
@option(
    "--arm",
    gettext("Which of several treatments is meant; without it any of them."),
    metavar="VALUE",
)
@option(
    "--features",
    gettext(
        "Columns known before the campaign, several with spaces or commas; without it "
        "all that can have been."
    ),
    metavar="COL",
    multiple=True,
)
@click.argument("more", nargs=-1, metavar="[COL…]")
def uplift(
    call: Call, data: Path, features: tuple[str, ...], more: tuple[str, ...], **choices: Any
) -> Answer:
    """Compare uplift learners on a past campaign."""
    from retention.uplift import evaluate

    if more and not features:
        text = gettext("{more!r} stands alone; name columns after --features.")
        raise BadInput(text.format(more=more[0]))
    columns = [
        name.strip() for word in (*features, *more) for name in word.split(",") if name.strip()
    ]
    report = evaluate(data, features=columns, progress=call.progress, **choices)
    return Answer("bot/evaluate_uplift", report)


@COMMAND.command(
    "bandit",
    role="analyst",
    help=gettext(
        "What the bandit would have earned on past campaigns, by their logged chances, "
        "and whether it may act."
    ),
)
@option(
    "--as-of", gettext("Decisions whose window ended by then; by default now."), DAY_OR_TIME, "DATE"
)
def bandit(call: Call, as_of: datetime | None) -> Answer:
    """Estimate the bandit's earnings on past campaigns."""
    from retention.recommend.bandit.decisions import evaluate_bandit, logged_decisions

    settings = call.settings
    with call.database.reading() as session:
        logged = logged_decisions(
            call.lake, session, as_of or clock.now(), uninformative_campaigns(session)
        )
    return Answer("bot/evaluate_bandit", evaluate_bandit(logged, load_policy(settings)))
