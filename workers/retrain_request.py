"""Define the request to train models, and the names of the models."""

from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from retention.errors import BadInput
from retention.privacy import extra as privacy_extra
from retention.privacy import ledger
from retention.text import gettext
from workers.app import training_seconds
from workers.job_request_base import Anonymous, Days, DaysOrEver, Moment, Seconds

if TYPE_CHECKING:
    from retention.db import Transaction
    from retention.settings import Settings

Estimator = Literal[
    "auto",
    "logistic",
    "quadratic",
    "horizons",
    "tree",
    "forest",
    "extra_trees",
    "svm",
    "neural",
    "boosting",
    "ensemble",
    "stacked",
    "bg_nbd",
    "bg_season",
    "rfm_logistic",
    "bg_logistic",
    "calendar_logistic",
    "calendar_boosting",
]
PRIVATE = "private"  # `retention.churn.private` loads the models
CHURN_MODELS = (*get_args(Estimator), PRIVATE)

RECOMMENDERS = (
    "user_knn_cosine",
    "user_knn_tfidf",
    "user_knn_bm25",
    "item_knn_cosine",
    "item_knn_tfidf",
    "item_knn_bm25",
    "als",
    "bpr",
    "logistic_mf",
    "ease",
    "repeat",
    "popular",
    "popular_segment",
    "trending",
    "content",
    "social",
    "mult_dae",
    "sasrec",
)
BLEND = ("auto", "blend")  # recommenders that rank the candidates of several models


# Share of a training's CPU time that a queued search may take on the clock. With four threads, it
# uses two thirds; the rest is for training and evaluating the winner.
TUNE_SHARE = 1 / 6


def _other_kind(model: str, kind: str, names: tuple[str, ...]) -> str:
    other = "recommend" if kind == "churn" else "churn"
    other_names = RECOMMENDERS if kind == "churn" else CHURN_MODELS
    if model in other_names:
        return gettext(
            "--model is {model!r}, which is a {other} model; write `/retention retrain {other} "
            "--model {model}`."
        ).format(model=model, other=other)
    text = gettext("--model is {model!r}; a {kind} model is one of {names}.")
    return text.format(model=model, kind=kind, names=", ".join(names))


class Retrain(Anonymous):
    """Train models before the cutoff and promote better ones.

    Without ``models``, trains all kinds that the data suffices for.
    """

    kind = "retrain"
    title = gettext("Retrain")
    queue = "training"
    deed = gettext("retrain models")
    models: tuple[Literal["churn", "recommend"], ...] = ()
    horizon: Days | None = None  # None: the installation's definition of churn
    active_within: DaysOrEver | Literal["definition"] = "definition"
    model: str = "auto"
    cutoff: Moment | None = None
    tune: Seconds | None = None
    tune_fits: Annotated[int, Field(ge=1, le=10_000)] | None = None
    epsilon: Annotated[float, Field(ge=0.1, le=10)] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of models to train."""
        return self.models or ("churn", "recommend")

    def check_worker_limits(self, settings: "Settings") -> None:
        """Refuse a search beyond the CPU limit."""
        cpu, _ = training_seconds(settings)
        limit = cpu * TUNE_SHARE
        if self.tune and self.tune > limit:
            raise BadInput(
                gettext(
                    "--tune is {tune:g} minutes, and the limit is {limit}: a training job may "
                    "use {cpu_minutes} minutes of CPU time in all. Give --tune at most "
                    "{limit}m, or run `retention retrain` in a terminal without --queue, where "
                    "no limit applies."
                ).format(tune=self.tune / 60, limit=int(limit // 60), cpu_minutes=cpu // 60)
            )

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        """Check that the model fits the kinds.

        ALS does not predict churn, and a support vector machine does not recommend.
        """
        for kind, names in (("churn", CHURN_MODELS), ("recommend", (*BLEND, *RECOMMENDERS))):
            if kind in self.kinds and self.model not in names:
                raise BadInput(_other_kind(self.model, kind, names))
        is_private = self.model == PRIVATE
        if is_private and self.epsilon is None:
            text = gettext("--epsilon is missing; a private model needs one, such as --epsilon 2.")
            raise BadInput(text, field="epsilon")
        if self.epsilon is not None and not is_private:
            text = gettext("--epsilon is {value:g}, which only --model private uses; leave it out.")
            raise BadInput(text.format(value=self.epsilon), field="epsilon")
        if is_private and (self.tune or self.tune_fits):
            text = gettext(
                "--tune tries settings on exact data; leave it out with --model private."
            )
            raise BadInput(text, field="tune")
        return self

    def check(self, session: "Transaction") -> None:
        """Say how to install what a private model needs, and refuse one beyond the budget."""
        super().check(session)
        if self.epsilon is not None:
            privacy_extra.require()
            ledger.check_budget(session, self.epsilon)
