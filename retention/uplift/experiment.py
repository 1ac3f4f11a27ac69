"""Build an experiment from a file.

It has treatment, outcome and features known before sending. A column leaked from the outcome or the
arm would make every learner look excellent. Treatment is randomised, so earlier columns differ
between the arms by chance only. Columns that differ more, or that decide the outcome, are left out
and named.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from scipy import stats

from retention.errors import BadInput
from retention.privacy import unpacking
from retention.text import gettext

IMBALANCE_P = 1e-4  # below this p of a difference between arms, a column is no earlier feature
LEAKAGE_P = 1e-9  # below this chance of equal outcomes for a value, the value decides the outcome
MAX_WORDS = 200  # a text column with more distinct values is a name or an id

_TREATED = {"1", "1.0", "true", "t", "yes", "y", "treatment", "treated", "test"}
_CONTROL = {"0", "0.0", "false", "f", "no", "n", "control", "holdout", "hold-out"}


@dataclass(frozen=True, slots=True)
class Experiment:
    """Hold a randomised campaign.

    `features`: known before sending.
    """

    features: pd.DataFrame
    outcome: np.ndarray
    treated: np.ndarray
    propensity: Any
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def shares(self) -> np.ndarray:
        """Propensity of each customer."""
        return np.broadcast_to(np.asarray(self.propensity, float), self.outcome.shape)

    @property
    def cells(self) -> np.ndarray:
        """Cell of arm and outcome of each customer."""
        return (2 * self.treated + self.outcome).astype(int)


def read_table(path: Path) -> pd.DataFrame:
    """Read CSV or Parquet. CSV may have any usual separator, plain or gzipped."""
    if not path.is_file():
        text = gettext("--data: there is no file {path}; give a CSV or Parquet file.")
        raise BadInput(text.format(path=path))
    parquet = path.suffix.lower() in (".parquet", ".pq")
    reader = "read_parquet(?)" if parquet else "read_csv(?, header = true)"
    unpacking.check_file(path)
    try:
        with duckdb.connect() as connection:
            table = connection.execute(f"SELECT * FROM {reader}", [str(path)]).df()  # noqa: S608
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rstrip(".")
        text = gettext("--data: {path} cannot be read as CSV or Parquet: {reason}.")
        raise BadInput(text.format(path=path, reason=reason)) from None
    if table.empty:
        text = gettext(
            "--data: {path} has no rows, at most a header; give one row for each customer "
            "of the experiment."
        )
        raise BadInput(text.format(path=path))
    return table


def build_experiment(
    table: pd.DataFrame,
    treatment: str,
    outcome: str,
    features: Sequence[str] = (),
    *,
    control: str | None = None,
    arm: str | None = None,
) -> Experiment:
    """Build an experiment from a table.

    `treatment`, `outcome`: columns. The treatment's two values are self-explanatory (1 and 0,
    treatment and control, yes and no), or ``control`` names the control.
    `features`: columns known before sending; by default all plausible ones.
    """
    columns = [("--treatment", treatment), ("--outcome", outcome)]
    for option, name in (*columns, *(("--features", feature) for feature in features)):
        _check_column(table, option, name)
    if treatment == outcome:
        text = gettext("--treatment and --outcome are both {treatment!r}; name two columns.")
        raise BadInput(text.format(treatment=treatment))
    arms = _arms(table[treatment], treatment, control, arm)
    is_used = arms.notna().to_numpy()
    treated = arms[is_used].to_numpy(float)
    if treated.all() or not treated.any():
        raise BadInput(
            gettext(
                "--treatment {treatment!r}: nobody is {empty}; uplift needs customers in both arms."
            ).format(treatment=treatment, empty="control" if treated.any() else "treated")
        )
    table = table[is_used].reset_index(drop=True)
    outcomes = _binary(table[outcome], outcome)
    if {treatment, outcome} & {*features}:
        name = next(name for name in features if name in (treatment, outcome))
        text = gettext("--features: {name!r} is the treatment or the outcome itself; leave it out.")
        raise BadInput(text.format(name=name))
    plausible = [str(name) for name in table.columns if name not in (treatment, outcome)]
    chosen, left_out = {}, {}
    for name in dict.fromkeys(features or plausible):
        column = _to_encodable(table[name])
        reason = _useless_reason(column)
        if not (reason or features):
            reason = _leakage_reason(column, treated, outcomes)
        if reason:
            left_out[name] = reason
        else:
            chosen[name] = column
    feature_table = pd.DataFrame(chosen)
    if feature_table.empty:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        text = gettext("No column is left to tell customers apart by ({reasons}); give --features.")
        raise BadInput(text.format(reasons=reasons or gettext("there is no other")))
    return Experiment(feature_table, outcomes, treated, float(treated.mean()), left_out)


def _check_column(table: pd.DataFrame, option: str, name: str) -> None:
    """Check that a column exists. The error names the closest column."""
    if name in table.columns:
        return
    near = difflib.get_close_matches(name, [str(column) for column in table.columns], 1)
    if near:
        hint = gettext("did you mean {near!r}?").format(near=near[0])
    else:
        hint = gettext("there are {columns}.").format(columns=", ".join(map(str, table.columns)))
    text = gettext("{option}: the data has no column {name!r}; {hint}")
    raise BadInput(text.format(option=option, name=name, hint=hint))


def _arms(column: pd.Series, name: str, control: str | None, arm: str | None) -> pd.Series:
    """Encode the treatment as 1 and 0. Rows of unused arms are missing."""
    if missing := int(column.isna().sum()):
        text = gettext(
            "--treatment {name!r} is empty in {missing:,} of {count:,} rows; say who was "
            "held out, or leave them out."
        )
        raise BadInput(text.format(name=name, missing=missing, count=len(column)))
    labels = column.astype(str).str.strip()
    words = labels.str.lower()
    known = words.isin(_TREATED | _CONTROL)
    if control is None and arm is None and known.all():
        return words.isin(_TREATED).astype(float)
    values = sorted(labels.unique())
    listed = ", ".join(values[:6]) + (", …" if len(values) > 6 else "")
    if control is None:
        hint = gettext(" (and with --arm which treatment is meant; else all others are one)")
        several = hint if len(values) > 2 else ""
        text = gettext(
            "--treatment {name!r} holds {listed}, not 0 and 1; say with --control which of "
            "them was held out{several_treatments}."
        )
        raise BadInput(text.format(name=name, listed=listed, several_treatments=several))
    for option, value in (("--control", control), ("--arm", arm)):
        if value is not None and value not in values:
            text = gettext("{option}: {name!r} has no value {value!r}; it holds {listed}.")
            raise BadInput(text.format(option=option, name=name, value=value, listed=listed))
    if control == arm:
        text = gettext("--control and --arm are both {control!r}; name two values of {name!r}.")
        raise BadInput(text.format(control=control, name=name))
    arms = pd.Series(np.where(labels == control, 0.0, 1.0), index=column.index)
    return arms if arm is None else arms.where(labels.isin([control, arm]))


def _binary(column: pd.Series, name: str) -> np.ndarray:
    """Convert the outcome column to 0 and 1."""
    if missing := int(column.isna().sum()):
        text = gettext(
            "--outcome {name!r} is empty in {missing:,} of {count:,} rows; write 0 where "
            "nothing happened."
        )
        raise BadInput(text.format(name=name, missing=missing, count=len(column)))
    words = column.astype(str).str.strip().str.lower()
    yes = words.isin({"1", "1.0", "true", "t", "yes", "y"})
    if not (yes | words.isin({"0", "0.0", "false", "f", "no", "n"})).all():
        values = ", ".join(sorted(column.astype(str).unique())[:4])
        text = gettext(
            "--outcome {name!r} holds {values}, …; it has to be 0 or 1, so make a column "
            "that says whether it happened."
        )
        raise BadInput(text.format(name=name, values=values))
    return yes.to_numpy(float)


def _to_encodable(column: pd.Series) -> pd.Series:
    """Convert a column for the encoder.

    Dates become days, words text, missing words a word of their own, infinite numbers missing.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return (column - column.min()).dt.total_seconds() / 86_400
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.astype(float).replace([np.inf, -np.inf], np.nan)
    return column.astype("string").fillna("(missing)").astype(object)


def _useless_reason(column: pd.Series) -> str:
    """Explain the lack of information in a column. It is empty for useful columns."""
    values = column.nunique(dropna=True)
    if values < 2:
        return gettext("the same for everybody")
    if column.dtype == object and values > MAX_WORDS:
        return gettext("{values:,} different words, a name or an id").format(values=values)
    if column.dtype != object and values == len(column) and (column % 1 == 0).all():
        return gettext("a different whole number for everybody, an id")
    return ""


def _leakage_reason(column: pd.Series, treated: np.ndarray, outcomes: np.ndarray) -> str:
    """Explain the leakage of a column.

    It is empty if the column can have been known before sending.
    """
    if _imbalance_p(column, treated) < IMBALANCE_P:
        return gettext(
            "differs between the arms, so it is not from before, or the arms were not drawn"
        )
    groups = column
    if column.dtype != object:
        groups = (column > column.min()).astype(float).where(column.notna(), -1.0)
    by_group = pd.DataFrame({"group": groups, "outcome": outcomes}).groupby("group")["outcome"]
    counts = by_group.agg(["sum", "size"])
    rate = outcomes.mean()
    always = (counts["sum"] == counts["size"]) & (rate ** counts["size"] < LEAKAGE_P)
    never = (counts["sum"] == 0) & ((1 - rate) ** counts["size"] < LEAKAGE_P)
    return gettext("decides the outcome, so it is part of it") if (always | never).any() else ""


def _imbalance_p(column: pd.Series, treated: np.ndarray) -> float:
    """Compute p of an arm difference.

    Words and flags: chi-squared. Numbers: Kolmogorov-Smirnov, and chi-squared of missingness. For
    example, the time an offer was opened is missing for customers without an offer.
    """
    if column.dtype == object:
        return _chi_squared_p(column, treated)
    if column.nunique() <= 10:  # inf marks missing numbers; no other value is infinite
        return _chi_squared_p(column.fillna(np.inf), treated)
    known = column.notna().to_numpy()
    values = column.to_numpy(float)
    arms = [values[known & (treated == arm)] for arm in (0, 1)]
    value_p = float(stats.ks_2samp(*arms).pvalue) if min(map(len, arms)) else 1.0
    return min(value_p, _chi_squared_p(column.isna(), treated))


def _chi_squared_p(column: pd.Series, treated: np.ndarray) -> float:
    """Compute p of a chi-squared test.

    The hypothesis is that values are equally frequent in both arms.
    """
    counts = pd.crosstab(column, treated).to_numpy()
    return float(stats.chi2_contingency(counts).pvalue) if min(counts.shape) > 1 else 1.0
