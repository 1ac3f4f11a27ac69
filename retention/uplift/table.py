"""An experiment from a file: which rows were treated, what came of it, and what was known before.

A column that an experiment's own outcome (or its arm) has leaked into would make every learner look brilliant. Arms
are drawn, so what was known before differs between them only by chance: what differs more, or decides the outcome, is
left out, and named.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from retention.errors import BadInput
from retention.text import gettext

IMBALANCE = 1e-4  # p of a difference between the arms below which a column is not from before
CERTAINTY = 1e-9  # chance that so many customers of one value have the same outcome, below which the value decides it
WORDS = 200  # a text column with more different values is a name or an id

_TREATED = {"1", "1.0", "true", "t", "yes", "y", "treatment", "treated", "test"}
_CONTROL = {"0", "0.0", "false", "f", "no", "n", "control", "holdout", "hold-out"}


@dataclass(frozen=True, slots=True)
class Experiment:
    """A randomised campaign.

    ``features``: (n, k), known before; ``outcome`` and ``treated``: (n,) of 0 and 1; ``propensity``: P(treated), one
    number or (n,); ``left_out``: column → why it is no feature.
    """

    features: pd.DataFrame
    outcome: np.ndarray
    treated: np.ndarray
    propensity: Any
    left_out: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> pd.DataFrame:
    """Read CSV (any usual separator, plain or gzipped) or Parquet.

    Raises
    ------
    BadInput
        It is not there, neither of the two, or without rows.
    """
    import duckdb

    if not path.is_file():
        raise BadInput(
            gettext("--data: there is no file {path}; give a CSV or Parquet file.").format(
                path=path
            )
        )
    parquet = path.suffix.lower() in (".parquet", ".pq")
    reader = (
        "read_parquet(?)" if parquet else "read_csv(?, header = true)"
    )  # columns are asked for by name
    try:
        with duckdb.connect() as connection:
            table = connection.execute(f"SELECT * FROM {reader}", [str(path)]).df()  # noqa: S608 - two words of ours
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadInput(
            gettext("--data: {path} cannot be read as CSV or Parquet: {reason}.").format(
                path=path, reason=reason
            )
        ) from None
    if table.empty:
        raise BadInput(
            gettext(
                "--data: {path} has no rows, at most a header; give one row for each customer "
                "of the experiment."
            ).format(path=path)
        )
    return table


def experiment(
    table: pd.DataFrame,
    *,
    treatment: str,
    outcome: str,
    features: Sequence[str] = (),
    control: str | None = None,
    arm: str | None = None,
) -> Experiment:
    """Take an experiment out of a table.

    Parameters
    ----------
    table : DataFrame
        A row a customer.
    treatment, outcome : str
        Columns. The treatment's two values say what they are (1 and 0, treatment and control, yes and no), or
        ``control`` says which is the control; ``arm`` then picks one of several treatments (else any of them).
    features : sequence of str
        Columns known before sending; without any, all others that can have been.

    Raises
    ------
    BadInput
        One sentence: the column, what it holds and the remedy.
    """
    for option, name in (
        ("--treatment", treatment),
        ("--outcome", outcome),
        *(("--features", f) for f in features),
    ):
        _check_column(table, option, name)
    if treatment == outcome:
        raise BadInput(
            gettext("--treatment and --outcome are both {treatment!r}; name two columns.").format(
                treatment=treatment
            )
        )
    arms = _arms(table[treatment], treatment, control, arm)
    kept = arms.notna().to_numpy()
    treated = arms[kept].to_numpy(float)
    both = {"treated": int(treated.sum()), "control": int((1 - treated).sum())}
    if empty := [name for name, number in both.items() if not number]:
        raise BadInput(
            gettext(
                "--treatment {treatment!r}: nobody is {empty}; uplift needs customers in both arms."
            ).format(treatment=treatment, empty=empty[0])
        )
    table = table[kept].reset_index(drop=True)
    happened = _binary(table[outcome], outcome)
    chosen, left_out = _features(table, features, treatment, outcome, treated, happened)
    if chosen.empty:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise BadInput(
            gettext(
                "No column is left to tell customers apart by ({value}); give --features."
            ).format(value=why or "there is no other")
        )
    return Experiment(chosen, happened, treated, float(treated.mean()), left_out)


def _check_column(table: pd.DataFrame, option: str, name: str) -> None:
    import difflib

    if name in table.columns:
        return
    near = difflib.get_close_matches(name, [str(column) for column in table.columns], 1)
    hint = (
        f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(str, table.columns))}."
    )
    raise BadInput(
        gettext("{option}: the data has no column {name!r}; {hint}").format(
            option=option, name=name, hint=hint
        )
    )


def _arms(column: pd.Series, name: str, control: str | None, arm: str | None) -> pd.Series:
    """1 treated, 0 control, missing for rows of an arm that was not asked for."""
    if missing := int(column.isna().sum()):
        raise BadInput(
            gettext(
                "--treatment {name!r} is empty in {missing:,} of {count:,} rows; say who was "
                "held out, or leave them out."
            ).format(name=name, missing=missing, count=len(column))
        )
    said = column.astype(str).str.strip()
    words = said.str.lower()
    known = words.isin(_TREATED | _CONTROL)
    if control is None and arm is None and known.all():
        return words.isin(_TREATED).astype(float)
    values = sorted(said.unique())
    listed = ", ".join(values[:6]) + (", …" if len(values) > 6 else "")
    if control is None:
        raise BadInput(
            gettext(
                "--treatment {name!r} holds {listed}, not 0 and 1; say with --control which of "
                "them was held out{value}."
            ).format(
                name=name,
                listed=listed,
                value=" (and with --arm which treatment is meant; else all others are one)"
                if len(values) > 2
                else "",
            )
        )
    for option, value in (("--control", control), ("--arm", arm)):
        if value is not None and value not in values:
            raise BadInput(
                gettext("{option}: {name!r} has no value {value!r}; it holds {listed}.").format(
                    option=option, name=name, value=value, listed=listed
                )
            )
    if control == arm:
        raise BadInput(
            gettext(
                "--control and --arm are both {control!r}; name two values of {name!r}."
            ).format(control=control, name=name)
        )
    arms = pd.Series(np.where(said == control, 0.0, 1.0), index=column.index)
    return arms if arm is None else arms.where(said.isin([control, arm]))


def _binary(column: pd.Series, name: str) -> np.ndarray:
    if missing := int(column.isna().sum()):
        raise BadInput(
            gettext(
                "--outcome {name!r} is empty in {missing:,} of {count:,} rows; write 0 where "
                "nothing happened."
            ).format(name=name, missing=missing, count=len(column))
        )
    words = column.astype(str).str.strip().str.lower()
    yes = words.isin({"1", "1.0", "true", "t", "yes", "y"})
    if not (yes | words.isin({"0", "0.0", "false", "f", "no", "n"})).all():
        values = ", ".join(sorted(column.astype(str).unique())[:4])
        raise BadInput(
            gettext(
                "--outcome {name!r} holds {values}, …; it has to be 0 or 1, so make a column "
                "that says whether it happened."
            ).format(name=name, values=values)
        )
    return yes.to_numpy(float)


def _features(
    table: pd.DataFrame,
    asked: Sequence[str],
    treatment: str,
    outcome: str,
    treated: np.ndarray,
    happened: np.ndarray,
) -> tuple[pd.DataFrame, dict[str, str]]:
    left_out: dict[str, str] = {}
    chosen = {}
    for name in dict.fromkeys(asked or [str(column) for column in table.columns]):
        if name in (treatment, outcome):
            if asked:
                raise BadInput(
                    gettext(
                        "--features: {name!r} is the treatment or the outcome itself; leave it out."
                    ).format(name=name)
                )
            continue
        column = _usable(table[name])
        reason = _unusable(column) or ("" if asked else _leak(column, treated, happened))
        if reason:
            left_out[name] = reason
        else:
            chosen[name] = column
    return pd.DataFrame(chosen), left_out


def _usable(column: pd.Series) -> pd.Series:
    """As the encoder takes it: moments as days, words as text, missing words a word of their own; an infinite number is none."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return (column - column.min()).dt.total_seconds() / 86_400
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.astype(float).replace([np.inf, -np.inf], np.nan)
    return column.astype("string").fillna("(missing)").astype(object)


def _unusable(column: pd.Series) -> str:
    values = column.nunique(dropna=True)
    if values < 2:
        return "the same for everybody"
    if column.dtype == object and values > WORDS:
        return f"{values:,} different words, a name or an id"
    if column.dtype != object and values == len(column) and (column % 1 == 0).all():
        return "a different whole number for everybody, an id"
    return ""


def _leak(column: pd.Series, treated: np.ndarray, happened: np.ndarray) -> str:
    """Why a column cannot have been known before, or nothing."""
    if _imbalance(column, treated) < IMBALANCE:
        return "differs between the arms, so it is not from before, or the arms were not drawn"
    words = column.dtype == object
    group = column if words else (column > column.min()).astype(float).where(column.notna(), -1.0)
    counted = pd.DataFrame({"group": group, "happened": happened}).groupby("group")["happened"]
    counted = counted.agg(["sum", "size"])
    rate = happened.mean()
    always = (counted["sum"] == counted["size"]) & (rate ** counted["size"] < CERTAINTY)
    never = (counted["sum"] == 0) & ((1 - rate) ** counted["size"] < CERTAINTY)
    return "decides the outcome, so it is part of it" if (always | never).any() else ""


def _imbalance(column: pd.Series, treated: np.ndarray) -> float:
    """p of a difference between the arms: chi-squared for words and flags, for numbers Kolmogorov-Smirnov and, of whether
    they are known at all, chi-squared: the moment at which an offer was opened is known of nobody who got none."""
    if column.dtype == object or column.nunique() <= 10:
        return _apart(
            column if column.dtype == object else column.fillna(np.inf), treated
        )  # no value is infinite
    known = column.notna().to_numpy()
    values = column.to_numpy(float)
    arms = [values[known & (treated == arm)] for arm in (0, 1)]
    differs = float(stats.ks_2samp(*arms).pvalue) if min(map(len, arms)) else 1.0
    return min(differs, _apart(column.isna(), treated))


def _apart(column: pd.Series, treated: np.ndarray) -> float:
    """p of the chi-squared test that a column's values are as frequent in one arm as in the other."""
    counts = pd.crosstab(column, treated).to_numpy()
    return float(stats.chi2_contingency(counts).pvalue) if min(counts.shape) > 1 else 1.0
