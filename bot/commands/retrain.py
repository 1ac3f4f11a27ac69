"""`retrain`: train models and promote them if they are better."""

from typing import Any, get_args

import click

from bot.commands.parameters import (
    ACTIVE_WITHIN,
    DATE,
    DURATION,
    HORIZON,
    choice,
    integer,
    number_between,
    option,
)
from bot.commands.tree import Call, command, request
from retention.text import gettext
from workers.job_requests import BLEND, CHURN_MODELS, RECOMMENDERS, Estimator, Retrain

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
@option(
    "--model",
    gettext("The kind of model; `help models` lists the names."),
    choice(*dict.fromkeys(CHURN_MODELS + RECOMMENDER_NAMES)),
    "NAME",
    default="auto",
)
@option("--cutoff", gettext("Learn only from what was before; by default now."), DATE, "DATE")
@option(
    "--tune",
    gettext(
        "Search the settings of the churn estimators for so long (in Slack at most "
        "10m); by default not."
    ),
    DURATION,
)
@option(
    "--tune-fits",
    gettext("Search with at most so many fits: repeatable whatever the machine."),
    integer(),
    "N",
)
@option(
    "--epsilon",
    gettext("The privacy loss of --model private: less is more private, and less accurate."),
    number_between(0.1, 10),
    "E",
)
def COMMAND(call: Call, models: tuple[str, ...], **fields: Any) -> Retrain:
    """Queue the training of new models."""
    return request(Retrain, models=models or None, **fields)
