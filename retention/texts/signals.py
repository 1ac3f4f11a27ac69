"""Keep an embedding and a mood for each text, in the lake's table ``text_signals``."""

import base64
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retention.progress import Progress, silent
from retention.text import gettext
from retention.texts import embedding, extra

if TYPE_CHECKING:
    from retention.lake import Lake

BATCH = 64  # texts between two reports of progress
MAX_NEW = 2_000  # embedded in one run, the newest first; a list must not wait for years of texts


def update(lake: "Lake", progress: Progress = silent) -> int:
    """Embed new texts and predict moods anew; return the number of changed rows.

    Without the extra ``texts``, moods are those of the stars alone. Nothing happens without texts.
    """
    texts, known = read(lake), lake.table("text_signals", identity="stored").execute()
    gone = known[~known.text_id.isin(texts.text_id)]
    lake.remove("text_signals", gone[["text_id"]])
    if texts.empty:
        return len(gone)
    from retention.texts import mood  # it loads scikit-learn

    before = known.set_index("text_id").reindex(texts.text_id).reset_index(drop=True)
    digest = texts.text.map(_digest)
    rows = texts[["text_id", "customer_id", "occurred_at", "available_at"]].assign(
        digest=digest, vector=before.vector.where(before.digest == digest, None)
    )
    missing = np.flatnonzero(rows.vector.isna() & extra.is_installed())[-MAX_NEW:]
    stars = texts.stars.to_numpy(dtype=float)
    stated = mood.of_stars(stars).round(6)
    restated = ~np.isnan(stars) & (stated != before["mood"].to_numpy(dtype=float))
    if gone.empty and not len(missing) and (digest == before.digest).all() and not restated.any():
        return 0  # the models of every month would learn the same again
    for start in range(0, len(missing), BATCH):
        progress(start, len(missing), gettext("Reading what customers wrote"))
        part = missing[start : start + BATCH]
        encoded = [encode(vector) for vector in embedding.embed(texts.text.iloc[part].tolist())]
        rows.loc[part, "vector"] = pd.Series(encoded, index=part, dtype=object)
    labels, labelled_at = mood.labels_of(lake, texts)
    known_at = texts.known_at.to_numpy()
    predicted = mood.walk_forward(decode(rows.vector), known_at, labels, labelled_at)
    rows["mood"] = np.where(np.isnan(stars), predicted.round(6), stated)
    old = before.assign(text_id=texts.text_id)[[*rows]]
    changed = rows[(_comparable(rows) != _comparable(old)).any(axis=1)]
    lake.upsert("text_signals", changed)
    return len(gone) + len(changed)


def _comparable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.astype(object).where(rows.notna(), "").astype(str)


def read(lake: "Lake") -> pd.DataFrame:
    """Return all texts by time, with ``known_at``, since when the shop could read them."""
    texts = lake.table("texts", identity="stored")
    texts = texts.filter(texts.text.notnull()).order_by("occurred_at", "text_id")
    frame = texts.execute().reset_index(drop=True)
    known_at = frame[["occurred_at", "available_at"]].max(axis=1)
    return frame.assign(known_at=known_at.astype("datetime64[us]"))


def _digest(text: str) -> str:
    return f"{pd.util.hash_array(np.array([text], dtype=object))[0]:016x}"


def encode(vector: np.ndarray) -> str:
    """Return a vector as text of 16 bits a number."""
    return base64.b64encode(vector.astype(np.float16).tobytes()).decode()


def decode(encoded: pd.Series) -> np.ndarray:
    """Return vectors, (n, 384) float32; NaN without one."""
    vectors = np.full((len(encoded), embedding.SIZE), np.nan, np.float32)
    for place, text in enumerate(encoded):
        if isinstance(text, str):
            vectors[place] = np.frombuffer(base64.b64decode(text), np.float16)
    return vectors
