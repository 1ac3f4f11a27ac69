"""Measure whom a past campaign influenced, from Python."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retention.errors import BadInput
from retention.number_format import signed
from retention.shop import plots
from retention.shop.tables import ModelFigures, arrow_table
from retention.text import gettext
from retention.uplift.evaluation import compare_learners
from retention.uplift.experiment import Experiment, build_experiment
from retention.uplift.experiment import read_table as read_file

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

METRICS = {
    "qini": "Qini",
    "auuc": "AUUC",
    "uplift_top_10": "uplift of top 10%",
    "uplift_top_30": "uplift of top 30%",
}
MODEL = "model"


class UpliftResult(ModelFigures):
    """The effect of a campaign, and how well models find the customers it influences.

    `evaluate_uplift` makes it. Printing it shows a table.

    Parameters
    ----------
    data : dict
        JSON object of ``retention evaluate uplift``.
    trial : Experiment
    predictions : dict
        Out-of-fold predictions of the model and of ranking by risk.

    Attributes
    ----------
    ate : float
        Average effect: the outcome's rate among the treated minus that of the hold-out group.
    metrics : dict of str to float
        Qini, AUUC and the uplift among the first tenth and the first three tenths of the ranking,
        all by cross-validation.
    intervals : dict
        Their 95% confidence intervals.
    baselines : dict of str to dict
        The same metrics for random targeting, and for targeting by risk.
    uplift : ndarray of shape (n,)
        Predicted uplift of each used row, from models that did not see it.

    Examples
    --------
    >>> import retention
    >>> result = retention.evaluate_uplift(
    ...     retention.sample_campaign(1500), treatment="sent", outcome="visit"
    ... )
    >>> result.to_frame().index.tolist()
    ['model', 'random', 'risk', 'response']
    """

    names = METRICS

    def __init__(
        self, data: dict[str, Any], trial: Experiment, predictions: "dict[str, np.ndarray]"
    ) -> None:
        super().__init__(data)
        self._trial, self._predictions = trial, predictions
        self.ate: float = data["ate"]
        self.intervals: dict[str, tuple[float, float] | None] = data["intervals"]
        self.uplift = predictions[MODEL]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Plot the Qini curves of the model and of targeting by risk.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default those of a new figure.

        Returns
        -------
        matplotlib Axes
        """
        return plots.plot_qini(self._trial.outcome, self._trial.treated, self._predictions, ax=ax)

    @property
    def _caption(self) -> str:
        treated = int(self._trial.treated.sum())
        text = gettext(
            "{treated:,} customers treated, {control:,} held out. The campaign changed the outcome "
            "by {points} points on average."
        )
        return text.format(
            treated=treated,
            control=len(self._trial.treated) - treated,
            points=signed(100 * self.ate, 1),
        )

    @property
    def _notes(self) -> list[str]:
        interval = self.intervals["qini"]
        notes = []
        if interval is not None:
            low, high = interval
            text = (
                gettext("Qini is likely between {low:.3f} and {high:.3f}: better than random.")
                if low > 0
                else gettext(
                    "Qini is likely between {low:.3f} and {high:.3f}: inconclusive against random."
                )
            )
            notes.append(text.format(low=low, high=high))
        notes += [
            gettext("Left out: {column} ({reason}).").format(column=column, reason=reason)
            for column, reason in self._data["left_out"].items()
        ]
        return notes


def evaluate_uplift(
    frame: Any,
    treatment: str,
    outcome: str,
    *,
    features: Sequence[str] = (),
    control: Any = None,
    arm: Any = None,
    seed: int = 0,
) -> UpliftResult:
    """Measure a randomised campaign, and compare models that rank customers by its effect.

    Models are compared by repeated cross-validation, next to random targeting and to targeting by
    risk.

    Parameters
    ----------
    frame : DataFrame, Arrow table or path
        A row per customer.
    treatment : str
        Column that says who was treated: 1 and 0, yes and no, treatment and control, or any values
        with ``control``.
    outcome : str
        Column of 0 and 1.
    features : sequence of str, optional
        Columns known before the campaign. By default all that can have been.
    control : optional
        Value of ``treatment`` for the hold-out group.
    arm : optional
        Which of several treatments to measure. By default all of them together.
    seed : int

    Returns
    -------
    UpliftResult

    Raises
    ------
    BadInput
        If a column is missing or has other values.
    TooLittleData
        With too few customers with, or without, the outcome in an arm.

    Examples
    --------
    >>> import retention
    >>> result = retention.evaluate_uplift(
    ...     retention.sample_campaign(1500), treatment="sent", outcome="visit"
    ... )
    >>> 0 < result.ate < 0.2
    True
    """
    if isinstance(frame, str | PathLike):
        table = read_file(Path(frame))
    else:
        table = arrow_table(frame, "frame").to_pandas()
        if table.empty:
            raise BadInput(gettext("{title} has no rows.").format(title="frame"), field="frame")
    trial = build_experiment(
        table,
        treatment=treatment,
        outcome=outcome,
        features=[features] if isinstance(features, str) else list(features),
        control=None if control is None else str(control),
        arm=None if arm is None else str(arm),
    )
    data, predictions = compare_learners(trial, seed=seed)
    return UpliftResult(data, trial, predictions)
