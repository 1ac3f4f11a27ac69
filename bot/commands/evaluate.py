"""`evaluate`: backtest the models against simple baselines."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot.commands.retrain import ESTIMATORS, RECOMMENDER_NAMES
from bot.commands.tree import (
    ACTIVE_WITHIN,
    DATE,
    DAY_OR_TIME,
    DAYS,
    HORIZON,
    TERMINAL,
    Answer,
    Call,
    TerminalOption,
    choice,
    group,
    integer,
)
from retention.errors import BadInput
from retention.text import gettext
from workers import times

if TYPE_CHECKING:
    from retention.lake import Lake


@group(
    "evaluate",
    surfaces=TERMINAL,
    help=gettext("How good a model is on what came true, beside simple baselines."),
)
def COMMAND() -> None: ...


def _lake(call: Call) -> Any:
    from retention.lake import Lake

    return Lake.open(call.services.settings)


CUTOFF = click.option(
    "--cutoff",
    type=DATE,
    metavar="DATE",
    help=gettext(
        "Learn from before, judge by what came after; by default the latest day whose horizon is "
        "over."
    ),
)


def _cutoff(lake: "Lake", requested: datetime | None, horizon_days: int) -> tuple[datetime, str]:
    """Return the cutoff, and a note if none was requested."""
    from retention.lake.coverage import latest_cutoff

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
    surfaces=TERMINAL,
    help=gettext(
        "Train on what was known before the cutoff and compare with who really came back."
    ),
)
@CUTOFF
@HORIZON
@ACTIVE_WITHIN
@click.option(
    "--model", type=choice(*ESTIMATORS), default="auto", help=gettext("The kind of model.")
)
@click.option(
    "--origins",
    type=integer(1, 24),
    default=1,
    metavar="N",
    help=gettext("Judge at the cutoff and N − 1 horizons before it: mean and sd."),
)
@click.option(
    "--by",
    multiple=True,
    metavar="ATTRIBUTE",
    help=gettext("Tell these customers' attributes apart."),
)
@click.option(
    "--learning-curve", is_flag=True, help=gettext("Also learn from fewer customers and snapshots.")
)
def churn(
    call: Call,
    cutoff: datetime | None,
    horizon: int | None,
    active_within: int | str | None,
    model: str,
    origins: int,
    by: tuple[str, ...],
    learning_curve: bool,
) -> Answer:
    """Backtest a churn model."""
    from retention.churn.evaluate import evaluate
    from retention.registry import champion
    from retention.registry.churn_definition import definition_in_force, resolve_definition
    from retention.registry.model_cache import churn_model
    from retention.risk.policy import load_policy, thresholds

    services, lake = call.services, _lake(call)
    with services.database.reading() as session:
        row = champion(session, services.settings, "churn")
    trained = churn_model(services.settings, row) if row else None
    tiers = thresholds(load_policy(services.settings), trained)
    definition = resolve_definition(
        definition_in_force(lake, services.database, services.settings),
        horizon,
        "definition" if active_within is None else times.days_or_ever(active_within),
    )
    moment, note = _cutoff(lake, cutoff, definition.horizon_days)
    report = evaluate(
        lake,
        cutoff=moment,
        horizon_days=definition.horizon_days,
        active_within_days=definition.active_within_days,
        model=model,
        origins=origins,
        by=by,
        tiers=(tiers.high, tiers.medium),
        curve=learning_curve,
        progress=call.progress,
    )
    return Answer("bot/evaluate_churn", {**report, "note": note})


@COMMAND.command(
    "recommend",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext("Rank the items for each customer and compare with what they really bought."),
)
@CUTOFF
@click.option(
    "--horizon", type=DAYS, default="28d", help=gettext("How long after the cutoff counts.")
)
@click.option(
    "--k", type=integer(1, 100), default=10, metavar="N", help=gettext("The length of the lists.")
)
@click.option(
    "--min-buyers",
    type=integer(),
    default=5,
    metavar="N",
    help=gettext("Only items so many bought."),
)
@click.option(
    "--new-items-only", is_flag=True, help=gettext("Only items a customer had never bought.")
)
@click.option(
    "--model",
    type=choice(*RECOMMENDER_NAMES),
    default="auto",
    metavar="NAME",
    help=gettext("One model alone, by its name."),
)
def recommend(
    call: Call,
    cutoff: datetime | None,
    horizon: int,
    k: int,
    min_buyers: int,
    new_items_only: bool,
    model: str,
) -> Answer:
    """Backtest the recommenders."""
    from retention.recommend import evaluate

    lake = _lake(call)
    moment, note = _cutoff(lake, cutoff, horizon)
    report = evaluate(
        lake,
        cutoff=moment,
        horizon_days=horizon,
        k=k,
        min_buyers=min_buyers,
        new_items_only=new_items_only,
        model=model,
        progress=call.progress,
    )
    return Answer("bot/evaluate_recommend", {**report, "note": note})


@COMMAND.command(
    "offers",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext(
        "Rank each campaign's coupons for the customers who redeemed any, with what was"
        " known at its start."
    ),
)
@click.option(
    "--offers",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    metavar="FILE",
    help=gettext(
        "campaign_id, starts_at, offer_id, item_id: CSV or Parquet; without it the "
        "Complete Journey's coupons."
    ),
)
@click.option(
    "--redemptions",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    metavar="FILE",
    help=gettext("campaign_id, customer_id, offer_id, redeemed_at: CSV or Parquet."),
)
@click.option(
    "--since",
    type=DATE,
    metavar="DATE",
    help=gettext("Report only campaigns that began from then on."),
)
@click.option(
    "--k", type=integer(1, 100), default=10, metavar="N", help=gettext("The length of the lists.")
)
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
    report = evaluate_offers(_lake(call), *tables, since=since, k=k, progress=call.progress)
    return Answer("bot/evaluate_offers", report)


@COMMAND.command(
    "uplift",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext(
        "Compare uplift learners on a past campaign by cross-validated Qini, beside "
        "risk and random rankings."
    ),
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    required=True,
    metavar="FILE",
    help=gettext("A randomised campaign, a row a customer: CSV or Parquet."),
)
@click.option(
    "--treatment",
    required=True,
    metavar="COL",
    help=gettext("The column that says who was treated."),
)
@click.option(
    "--outcome",
    required=True,
    metavar="COL",
    help=gettext("The column of 0 and 1 that says what came of it."),
)
@click.option(
    "--control",
    metavar="VALUE",
    help=gettext("Which value of the treatment means held out, where it is not 0 and 1."),
)
@click.option(
    "--arm",
    metavar="VALUE",
    help=gettext("Which of several treatments is meant; without it any of them."),
)
@click.option(
    "--features",
    multiple=True,
    metavar="COL",
    help=gettext(
        "Columns known before the campaign, several with spaces or commas; without it "
        "all that can have been."
    ),
)
@click.argument("more", nargs=-1, metavar="[COL…]")
def uplift(
    call: Call,
    data: Path,
    treatment: str,
    outcome: str,
    control: str | None,
    arm: str | None,
    features: tuple[str, ...],
    more: tuple[str, ...],
) -> Answer:
    """Compare uplift learners on a past campaign."""
    from retention.uplift import evaluate

    if more and not features:
        raise BadInput(
            gettext("{more!r} stands alone; name columns after --features.").format(more=more[0])
        )
    columns = [
        name.strip() for word in (*features, *more) for name in word.split(",") if name.strip()
    ]
    report = evaluate(
        data,
        treatment=treatment,
        outcome=outcome,
        features=columns,
        control=control,
        arm=arm,
        progress=call.progress,
    )
    return Answer("bot/evaluate_uplift", report)


@COMMAND.command(
    "bandit",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext(
        "What the bandit would have earned on past campaigns, by their logged chances, "
        "and whether it may act."
    ),
)
@click.option(
    "--as-of",
    type=DAY_OR_TIME,
    metavar="DATE",
    help=gettext("Decisions whose window ended by then; by default now."),
)
def bandit(call: Call, as_of: datetime | None) -> Answer:
    """Estimate the bandit's earnings on past campaigns."""
    from retention import clock
    from retention.campaigns.closing import uninformative_campaigns
    from retention.recommend.bandit.decisions import evaluate_bandit, logged_decisions
    from retention.risk.policy import load_policy

    settings = call.services.settings
    with call.services.database.reading() as session:
        logged = logged_decisions(
            _lake(call),
            session,
            settings,
            as_of or clock.now(),
            uninformative_campaigns(session, settings),
        )
    return Answer("bot/evaluate_bandit", evaluate_bandit(logged, load_policy(settings)).data)
