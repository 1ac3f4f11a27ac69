"""`retrain`: train models and promote them if they are better."""

from datetime import datetime
from typing import get_args

import click

from bot.commands.tree import (
    ACTIVE_WITHIN,
    DATE,
    DURATION,
    HORIZON,
    Call,
    choice,
    command,
    integer,
    request,
)
from retention.text import gettext
from workers.requests import BLEND, RECOMMENDERS, Estimator, Retrain

ESTIMATORS: tuple[str, ...] = get_args(Estimator)
RECOMMENDER_NAMES = (*BLEND, *RECOMMENDERS)


@command(
    "retrain",
    request=Retrain,
    help=gettext(
        "Train new models on the history before the cutoff and promote them where they "
        "are better.\n\n"
        "Where neither kind is named, it is both, or the one that the data can carry."
    ),
)
@click.argument("models", nargs=-1, type=choice("churn", "recommend"), metavar="[churn|recommend]")
@HORIZON
@ACTIVE_WITHIN
@click.option(
    "--model",
    type=choice(*dict.fromkeys(ESTIMATORS + RECOMMENDER_NAMES)),
    default="auto",
    metavar="NAME",
    help=gettext("The kind of model; `help models` lists the names."),
)
@click.option(
    "--cutoff",
    type=DATE,
    metavar="DATE",
    help=gettext("Learn only from what was before; by default now."),
)
@click.option(
    "--tune",
    type=DURATION,
    help=gettext(
        "Search the settings of the churn estimators for so long (in Slack at most "
        "10m); by default not."
    ),
)
@click.option(
    "--tune-fits",
    type=integer(),
    metavar="N",
    help=gettext("Search with at most so many fits: repeatable whatever the machine."),
)
def COMMAND(
    call: Call,
    models: tuple[str, ...],
    horizon: int | None,
    active_within: int | str | None,
    model: str,
    cutoff: datetime | None,
    tune: int | None,
    tune_fits: int | None,
) -> Retrain:
    """Queue the training of new models."""
    return request(
        Retrain,
        models=models or None,
        horizon=horizon,
        active_within=active_within,
        model=model,
        cutoff=cutoff,
        tune=tune,
        tune_fits=tune_fits,
    )
