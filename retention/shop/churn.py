"""A trained churn model and its evaluation, for use from Python."""

from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retention.churn.estimators import ESTIMATORS
from retention.churn.evaluation.evaluate import Evaluation
from retention.churn.model import TrainedChurn
from retention.errors import BadInput
from retention.number_format import signed
from retention.shop import plots
from retention.shop.tables import ModelFigures
from retention.templating import churn as churn_sentence
from retention.templating import day, percent
from retention.text import gettext

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {
    "auc": "AUC",
    "pr_auc": "PR-AUC",
    "top_decile_lift": "top-decile lift",
    "brier": "Brier",
    "log_loss": "log loss",
    "ece": "ECE",
    "empc": "EMPC",
}


class ChurnReport(ModelFigures):
    """A churn model's metrics next to its baselines.

    `Shop.evaluate_churn` makes it. Printing it shows a table.

    Parameters
    ----------
    data : dict
        JSON object of ``retention evaluate churn``.
    evaluation : Evaluation
        Predictions at the cutoff.
    zone : str
        The shop's time zone.

    Attributes
    ----------
    metrics : dict of str to float
        AUC, average precision, lift of the top decile, Brier score, log loss, expected calibration
        error (ten bins of equal count) and expected maximum profit.
    baselines : dict of str to dict
        The same for recency alone, logistic regression on RFM, and BG/NBD.
    customers : int
        Active customers at the cutoff.
    base_rate : float
        Share of them that churned.

    Raises
    ------
    BadInput
        By `plot`, for an unknown kind.

    Examples
    --------
    >>> import retention
    >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
    >>> report = shop.evaluate_churn()
    >>> report.metrics["auc"] > 0.7
    True
    """

    names = METRICS

    def __init__(self, data: dict[str, Any], evaluation: Evaluation, zone: str = "UTC") -> None:
        super().__init__(data)
        self._evaluation, self._zone = evaluation, zone
        self.customers: int = data["customers"]
        self.base_rate: float = data["base_rate"]

    def plot(
        self, kind: Literal["reliability", "lift"] = "reliability", ax: "Axes | None" = None
    ) -> "Axes":
        """Plot the model next to its baselines.

        Parameters
        ----------
        kind : {"reliability", "lift"}
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        BadInput
            For another kind.
        """
        draw = {"reliability": plots.plot_reliability, "lift": plots.plot_lift}.get(kind)
        if draw is None:
            message = gettext("kind is {kind!r}; use reliability or lift.")
            raise BadInput(message.format(kind=kind), field="kind")
        shown = {gettext("model"): self._evaluation.probabilities, **self._evaluation.baselines}
        return draw(self._evaluation.test.labels, shown, ax=ax)

    @property
    def _caption(self) -> str:
        text = gettext("{customers:,} customers at {day}, of whom {share} churned: {definition}.")
        return text.format(
            customers=self.customers,
            day=day(self._evaluation.test.cutoff, self._zone),
            share=percent(self.base_rate),
            definition=churn_sentence(self._data),
        )

    @property
    def _notes(self) -> list[str]:
        """Compare the model with the best baseline by log loss."""
        best = min(self.baselines, key=lambda name: self.baselines[name]["log_loss"])
        gap = self._data["against"][best]
        if gap["low"] is None or gap["low"] <= 0 <= gap["high"]:
            message = gettext("Not clearly different from the best baseline ({name}).")
            return [message.format(name=best)]
        if gap["high"] < 0:
            text = gettext("Better than the best baseline ({name}): log loss {low} to {high}.")
        else:
            text = gettext("Worse than the best baseline ({name}): log loss {low} to {high}.")
        return [text.format(name=best, low=signed(gap["low"], 3), high=signed(gap["high"], 3))]


@dataclass(frozen=True, slots=True, repr=False)
class ChurnModel:
    """A trained churn model, for `Shop.score`.

    `Shop.train_churn` makes it.

    Parameters
    ----------
    trained : TrainedChurn
        The model as the commands use it.
    zone : str
        The shop's time zone.

    Raises
    ------
    BadInput
        By `load`, if the file is no model.

    Examples
    --------
    >>> import retention
    >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
    >>> model = shop.train_churn()
    >>> print(model)  # doctest: +ELLIPSIS
    Churn model (...), trained on ... customers before 29 Jun 2024: no order within 28 days, ...
    """

    trained: TrainedChurn
    zone: str = "UTC"

    @property
    def horizon_days(self) -> int:
        """A customer churns without an order in this many days."""
        return self.trained.horizon_days

    @property
    def active_within_days(self) -> int | None:
        """Days in which a customer must have ordered to count as active; None: ever."""
        return self.trained.active_within_days

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features."""
        return self.trained.columns

    def save(self, path: "str | PathLike[str]") -> None:
        """Write the model to a file (skops, without code).

        Parameters
        ----------
        path : path
        """
        Path(path).write_bytes(self.trained.to_bytes())

    @classmethod
    def load(cls, path: "str | PathLike[str]", *, timezone: str = "UTC") -> "ChurnModel":
        """Read a model that `save` wrote.

        Parameters
        ----------
        path : path
        timezone : str
            The shop's, for printing.

        Raises
        ------
        BadInput
            If the file cannot be read, or holds anything but a model.
        """
        try:
            trained = TrainedChurn.from_bytes(Path(path).read_bytes())
        except BadInput:
            raise
        except Exception as error:  # whatever skops finds wrong is a fault of the file
            reason = getattr(error, "strerror", None) or gettext("it is no churn model")
            text = gettext("{path} cannot be read: {reason}.")
            raise BadInput(text.format(path=path, reason=reason)) from error
        return cls(trained, timezone)

    def __str__(self) -> str:
        trained = self.trained
        return gettext(
            "Churn model ({name}), trained on {rows:,} customers before {day}: {definition}."
        ).format(
            name=trained.estimator,
            rows=trained.train_rows,
            day=day(trained.cutoff, self.zone),
            definition=churn_sentence(trained.window._asdict()),
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{escape(str(self))}</p>"


def check_estimator(model: str) -> str:
    """Return a model's name, if there is such a kind of model."""
    known = ("auto", *ESTIMATORS)
    if model not in known:
        message = gettext("model is {model!r}; use {known}.")
        raise BadInput(message.format(model=model, known=", ".join(known)), field="model")
    return model
