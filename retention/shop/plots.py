"""Plot reliability, lift, Qini, cohorts and RFM on matplotlib Axes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.churn.evaluation.classification_metrics import lift_curve, reliability
from retention.errors import BadInput
from retention.reports import charts
from retention.text import gettext
from retention.uplift.uplift_metrics import qini_curve

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LIFT_SHARES = tuple(np.linspace(0.02, 1, 50))
_REST = ("#8a8a8a", "#c08a3e", "#7a6fae", "#3d8f6f")  # of baselines
Predictions = Any  # an array, or a mapping of names to arrays


def plot_reliability(
    churned: Any, probability: Predictions, *, bins: int = 10, ax: "Axes | None" = None
) -> "Axes":
    """Plot the observed churn rate against the predicted one.

    Parameters
    ----------
    churned : array-like of shape (n,)
        0 or 1.
    probability : array-like of shape (n,), or mapping
        Predicted probabilities, or several by name.
    bins : int
        Bins of equal count.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If the lengths differ, or a value is no probability.

    Examples
    --------
    >>> import retention
    >>> axes = retention.plot_reliability([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.8], bins=2)
    >>> axes.get_xlabel()
    'predicted churn rate'
    """
    labels, shown = _checked(churned, probability)
    axes = _axes(ax)
    axes.plot([0, 1], [0, 1], color=charts.MUTED, linewidth=1, linestyle=":")
    for (name, values), style in zip(shown.items(), _styles(shown), strict=True):
        points = [
            (each["predicted"], each["observed"]) for each in reliability(labels, values, bins)
        ]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, **style)
    below, beside = gettext("predicted churn rate"), gettext("observed churn rate")
    _finish(axes, below, beside, gettext("Reliability"), has_legend=len(shown) > 1)
    _use_percent(axes.xaxis)
    _use_percent(axes.yaxis)
    return axes


def plot_lift(churned: Any, probability: Predictions, *, ax: "Axes | None" = None) -> "Axes":
    """Plot how many times more often the riskiest customers churn than all.

    Parameters
    ----------
    churned : array-like of shape (n,)
        0 or 1.
    probability : array-like of shape (n,), or mapping
        Predicted probabilities, or several by name.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If the lengths differ, a value is no probability, or nobody churned.

    Examples
    --------
    >>> import retention
    >>> axes = retention.plot_lift([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.8])
    >>> axes.get_title(loc="left")
    'Lift'
    """
    labels, shown = _checked(churned, probability)
    if not labels.any():
        raise BadInput(gettext("churned: nobody churned, so there is no lift."), field="churned")
    axes = _axes(ax)
    axes.axhline(1, color=charts.MUTED, linewidth=1, linestyle=":")
    for (name, values), style in zip(shown.items(), _styles(shown), strict=True):
        points = [(each["share"], each["lift"]) for each in lift_curve(labels, values, LIFT_SHARES)]
        axes.plot(*zip(*points, strict=True), label=name, **style)
    below = gettext("share of customers, riskiest first")
    beside = gettext("churn rate ÷ that of all")
    _finish(axes, below, beside, gettext("Lift"), has_legend=len(shown) > 1)
    _use_percent(axes.xaxis)
    return axes


def plot_qini(
    outcome: Any, treated: Any, uplift: Predictions, *, ax: "Axes | None" = None
) -> "Axes":
    """Plot the Qini curve: incremental outcomes by the share of customers that are targeted.

    Parameters
    ----------
    outcome, treated : array-like of shape (n,)
        0 or 1.
    uplift : array-like of shape (n,), or mapping
        Predicted uplift, or several by name.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If the lengths differ, or an outcome or a treatment is neither 0 nor 1.

    References
    ----------
    Radcliffe (2007), Using Control Groups to Target on Predicted Lift.

    Examples
    --------
    >>> import retention
    >>> axes = retention.plot_qini([1, 0, 0, 1], [1, 1, 0, 0], [0.9, 0.1, 0.8, 0.2])
    >>> axes.get_xlabel()
    'share of customers, highest uplift first'
    """
    outcomes, arms = _binary(outcome, "outcome"), _binary(treated, "treated")
    _check_length(arms, len(outcomes), "treated")
    shown = _named(uplift)
    axes = _axes(ax)
    end = 0.0
    for (name, values), style in zip(shown.items(), _styles(shown), strict=True):
        _check_length(values, len(outcomes), "uplift")
        share, gained = qini_curve(outcomes, values, arms)
        end = gained[-1]
        axes.plot(share, gained, label=name, **style)
    axes.plot([0, 1], [0, end], color=charts.MUTED, linewidth=1, linestyle=":", label="random")
    below = gettext("share of customers, highest uplift first")
    _finish(axes, below, gettext("incremental outcomes"), gettext("Qini curve"), has_legend=True)
    _use_percent(axes.xaxis)
    return axes


def plot_cohorts(cohorts: "pd.DataFrame", *, ax: "Axes | None" = None) -> "Axes":
    """Plot which share of a month's new customers order again in later months.

    Parameters
    ----------
    cohorts : pandas.DataFrame
        As `Shop.cohorts` returns it: a row per month, with ``customers`` and a column per month
        later.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If the table has no months later.

    Examples
    --------
    >>> import retention
    >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
    >>> axes = retention.plot_cohorts(shop.cohorts())
    >>> axes.get_xlabel()
    'months since the first order'
    """
    later: list[Any] = [name for name in cohorts.columns if isinstance(name, int | np.integer)]
    if not later:
        message = gettext("cohorts has no columns of later months; give what Shop.cohorts returns.")
        raise BadInput(message, field="cohorts")
    axes = _axes(ax)
    weights = cohorts["customers"].to_numpy(dtype=float)
    shares = cohorts[later].to_numpy(dtype=float)
    for row in shares:
        axes.plot(later, row, color=charts.SOFT, linewidth=1)
    known = np.isfinite(shares)
    followed = known.any(axis=0)
    total = (known * weights[:, None]).sum(axis=0)[followed]
    mean = np.where(known, shares * weights[:, None], 0).sum(axis=0)[followed] / total
    months, everyone = np.array(later)[followed], gettext("all")
    axes.plot(months, mean, color=charts.ACCENT, linewidth=2, label=everyone)
    below, beside = gettext("months since the first order"), gettext("share that orders")
    title = gettext("Customers who order again, by month of the first order")
    _finish(axes, below, beside, title, has_legend=True)
    axes.set_ylim(bottom=0)
    _use_percent(axes.yaxis)
    return axes


def plot_rfm(rfm: "pd.DataFrame", *, ax: "Axes | None" = None) -> "Axes":
    """Plot the number of customers by quintile of recency and frequency.

    Parameters
    ----------
    rfm : pandas.DataFrame
        As `Shop.rfm` returns it, with the columns r and f.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If a column is missing.

    Examples
    --------
    >>> import retention
    >>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
    >>> axes = retention.plot_rfm(shop.rfm())
    >>> axes.get_ylabel()
    'frequency (5: most orders)'
    """
    for name in ("r", "f"):
        if name not in rfm.columns:
            message = gettext("rfm has no column {name!r}; give what Shop.rfm returns.")
            raise BadInput(message.format(name=name), field="rfm")
    from matplotlib.colors import LinearSegmentedColormap

    axes = _axes(ax)
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (rfm["f"].to_numpy(int) - 1, rfm["r"].to_numpy(int) - 1), 1)
    colours = LinearSegmentedColormap.from_list("customers", ["white", charts.ACCENT])
    axes.imshow(counts, origin="lower", extent=(0.5, 5.5, 0.5, 5.5), cmap=colours, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if count > counts.max() / 2 else charts.INK
        text = axes.text(column + 1, row + 1, f"{count:,}", fontsize=8, color=ink)
        text.set(ha="center", va="center")
    below, beside = gettext("recency (5: most recent)"), gettext("frequency (5: most orders)")
    _finish(axes, below, beside, gettext("Customers by recency and frequency"), has_legend=False)
    axes.grid(visible=False)
    return axes


# ---------------------------------------------------------------- style


def _axes(ax: "Axes | None") -> "Axes":
    """Return the given axes, or those of a new figure of pyplot, which notebooks show."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(charts.WIDTH, 4.2), layout="constrained")
    return axes


def _finish(axes: "Axes", below: str, beside: str, title: str, *, has_legend: bool) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(charts.GRID)
    axes.grid(axis="y", color=charts.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=charts.MUTED, labelsize=8, length=0)
    axes.set_xlabel(below, color=charts.MUTED, fontsize=9)
    axes.set_ylabel(beside, color=charts.MUTED, fontsize=9)
    axes.set_title(title, loc="left", color=charts.INK, fontsize=11)
    if has_legend:
        axes.legend(frameon=False, fontsize=8)


def _styles(shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the line styles: the first stands out from the others."""
    first: dict[str, Any] = {"color": charts.ACCENT, "linewidth": 2}
    rest = [
        {"color": _REST[number % len(_REST)], "linewidth": 1, "alpha": 0.9}
        for number in range(len(shown) - 1)
    ]
    return [first, *rest][: len(shown)]


def _use_percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


# ---------------------------------------------------------------- checks


def _named(values: Predictions) -> dict[str, np.ndarray]:
    listed = dict(values) if isinstance(values, Mapping) else {gettext("model"): values}
    return {str(name): np.asarray(each, dtype=float).ravel() for name, each in listed.items()}


def _checked(churned: Any, probability: Predictions) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    labels, shown = _binary(churned, "churned"), _named(probability)
    for values in shown.values():
        _check_length(values, len(labels), "probability")
        if not ((values >= 0) & (values <= 1)).all():
            message = gettext("probability: values go from {low:.3g} to {high:.3g}; give 0 to 1.")
            raise BadInput(message.format(low=values.min(), high=values.max()), field="probability")
    return labels, shown


def _binary(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float).ravel()
    if not len(array) or not np.isin(array, (0, 1)).all():
        raise BadInput(gettext("{name}: give a 0 or a 1 each.").format(name=name), field=name)
    return array


def _check_length(values: np.ndarray, expected: int, name: str) -> None:
    if len(values) != expected:
        message = gettext("{name} has {found:,} values for {expected:,} customers.")
        raise BadInput(message.format(name=name, found=len(values), expected=expected), field=name)
