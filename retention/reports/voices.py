"""Report what customers wrote about: themes, their change, the revenue behind them, and quotes."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retention import clock
from retention.db import Database, Transaction
from retention.db.tables import Cohort, TextThemes
from retention.features.engagement import COMPLAINT
from retention.lake import customer_directory
from retention.privacy import pseudonym
from retention.progress import Progress, silent
from retention.reports.customer_history import newest_lists
from retention.texts import extra, signals, theme_store
from retention.texts.masking import quote
from retention.texts.themes import MAX_TEXTS, MIN_TEXTS, ThemeSet, find_themes

if TYPE_CHECKING:
    from retention.lake import Lake

WEEK = timedelta(days=7)
REMEMBERED = timedelta(days=365)  # older texts do not shape the themes
QUARTER = timedelta(days=91)  # then they are found anew, too
GROWTH = 1.5  # with so many times the texts, the themes are found anew
QUOTES = 3
MIN_QUOTE = 12  # characters; "ok" says nothing


def voices(
    lake: "Lake", database: Database, since: datetime, until: datetime, progress: Progress = silent
) -> tuple[dict[str, Any], ThemeSet | None]:
    """Return the themes of the texts in ``[since, until)``, and themes to store if they are new.

    Texts that were written or known at or after ``until`` are not used.
    """
    extra.require()
    signals.update(lake, progress)
    texts = texts_before(lake, until)
    with database.reading() as session:
        row = theme_store.stored(session)
        known = ThemeSet.from_json(row.content) if row else None
        found = None
        newest = texts.tail(MAX_TEXTS)
        if len(newest) >= MIN_TEXTS and (row is None or _is_old(row, len(texts))):
            found = find_themes(
                signals.decode(newest.vector),
                newest.text.tolist(),
                newest.language.tolist(),
                newest.customer_id.tolist(),
                known,
            )
        themes = found or known
        data = {
            **{"since": since.isoformat(), "until": until.isoformat()},
            **{"known": len(texts), "needed": MIN_TEXTS, "texts": 0, "customers": 0},
            **{"before": 0, "themes": []},
        }
        if themes:
            data |= _report(lake, session, texts, themes, since, until)
    return data, found


def _is_old(row: TextThemes, texts: int) -> bool:
    """Return whether themes are to be found anew: many texts are new, or a quarter has passed."""
    return texts >= GROWTH * row.texts or clock.now() - row.found_at >= QUARTER


def texts_before(lake: "Lake", until: datetime) -> pd.DataFrame:
    """Return the embedded texts of the year before, by time."""
    texts = lake.table("texts", before=until, since=until - REMEMBERED)
    own = lake.table("text_signals", before=until, since=until - REMEMBERED)
    own = own.filter(own.vector.notnull()).select("text_id", "vector", "mood")
    joined = texts.filter(texts.text.notnull()).join(own, "text_id")
    frame = joined.order_by("occurred_at", "text_id").execute().reset_index(drop=True)
    language = frame.language.fillna("").astype(str).str.lower().str.split(r"[-_]", regex=True)
    return frame.assign(language=language.str[0].fillna(""))


def _report(
    lake: "Lake",
    session: Transaction,
    texts: pd.DataFrame,
    themes: ThemeSet,
    since: datetime,
    until: datetime,
) -> dict[str, Any]:
    """Count the texts of the period and of as long a time before it, by theme."""
    start, begin = (
        pd.Timestamp(each).tz_convert(None) for each in (since, since - (until - since))
    )
    recent = texts[texts.occurred_at >= begin]
    if recent.empty:
        return {}
    place, closeness = themes.assign(signals.decode(recent.vector), recent.language.tolist())
    recent = recent.assign(theme=place, closeness=closeness)
    now, before = recent[recent.occurred_at >= start], recent[recent.occurred_at < start]
    stakes = _stakes(lake, session, until)
    rows: list[dict[str, Any]] = []
    for number, theme in enumerate(themes.themes):
        own = now[now.theme == number]
        if own.empty:
            continue
        moods = own.mood.dropna()
        writers = own.customer_id.unique()
        rows.append(
            {
                **{"number": theme.number, "title": theme.title, "phrases": [*theme.phrases]},
                **{"name": theme.name, "texts": len(own), "customers": len(writers)},
                "before": int((before.theme == number).sum()),
                "complaints": int((moods < COMPLAINT).sum()) if len(moods) else None,
                "revenue_at_risk": _sum(stakes, writers),
                "quotes": _quotes(session, own),
            }
        )
    rows.sort(key=lambda row: (-row["texts"], row["number"]))
    customers = now.customer_id.unique()
    return {
        **{"texts": len(now), "customers": len(customers), "before": len(before), "themes": rows},
        "revenue_at_risk": _sum(stakes, customers),
    }


def _stakes(lake: "Lake", session: Transaction, until: datetime) -> pd.Series | None:
    """Return each customer's revenue at risk on the newest list; None without a list."""
    newest = next(iter(newest_lists(session, Cohort.as_of <= until, limit=1)), None)
    if newest is None:
        return None
    scores = lake.scores(newest.run_id)
    frame = scores.select("customer_id", "churn_probability", "expected_value").execute()
    frame = frame.drop_duplicates("customer_id").set_index("customer_id")
    return frame.churn_probability * frame.expected_value


def _sum(stakes: pd.Series | None, customers: Iterable[str]) -> float | None:
    if stakes is None:
        return None
    return round(float(np.nansum(stakes.reindex(list(customers)).to_numpy(dtype=float))), 2)


def _quotes(session: Transaction, own: pd.DataFrame) -> list[dict[str, Any]]:
    """Return short quotes of different customers, the most typical first.

    Each has its writer's pseudonym: by it an erasure finds the quote in jobs and messages.
    """
    typical = own[own.text.str.len() >= MIN_QUOTE].sort_values("closeness", ascending=False)
    typical = typical.drop_duplicates("customer_id").head(QUOTES)
    names = customer_directory.display_names(session, typical.customer_id)
    return [
        {
            "customer": pseudonym(session.settings.key, one.customer_id),
            "text": quote(one.text, [names.get(one.customer_id, "")]),
            "stars": None if pd.isna(one.stars) else int(one.stars),
        }
        for one in typical.itertuples()
    ]


def voices_line(lake: "Lake", session: Transaction, at: datetime) -> dict[str, Any] | None:
    """Return the week's most frequent theme for the digest; None before themes were found."""
    row = theme_store.stored(session)
    if row is None or not row.texts:  # after an erasure, they wait to be found anew
        return None
    report = _report(
        lake, session, texts_before(lake, at), ThemeSet.from_json(row.content), at - WEEK, at
    )
    if not report.get("themes"):
        return None
    first = report["themes"][0]
    keys = ("title", "texts", "before", "revenue_at_risk")
    return {"all": report["texts"], **{key: first[key] for key in keys}}
