"""Test the import of texts, their moods, and that no later text changes an earlier mood."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention import erasure
from retention.db.tables import DirectoryEntry
from retention.features import build
from retention.lake.importing.import_files import import_files
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.lake.suggesting.suggest import suggest
from retention.texts import extra, signals, upkeep
from retention.window import Window
from tests import shop as tiny
from tests.retention.texts.conftest import GOOD, texts


def moods(lake):
    frame = lake.table("text_signals").execute()
    return frame.set_index("text_id").mood.sort_index()


def row(**values):
    usual = {"customer_id": "c0001", "occurred_at": tiny.BEGIN, "kind": "review", "text": "Good"}
    return pd.DataFrame([usual | values])


def test_same_file_again_changes_nothing(shop_copy):
    first, again = (tiny.add(shop_copy, texts(), "texts") for _ in range(2))
    assert (first.rows_accepted, again.rows_accepted, again.rows_duplicate) == (300, 0, 300)


def test_text_without_an_id_is_known_by_what_it_says(shop_copy):
    for words in ("Good", "Good", "Very good"):
        tiny.add(shop_copy, row(text=words), "texts")
    assert sorted(shop_copy.lake.table("texts").execute().text) == ["Good", "Very good"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"stars": 6.0}, "unknown_value"),
        ({"kind": "song"}, "unknown_value"),
        ({"text": "  "}, "missing_text"),
        ({"customer_id": None}, "missing_customer"),
    ],
)
def test_bad_rows_are_quarantined(shop_copy, values, code):
    rows = pd.concat([row(stars=5.0), row(**values)])
    report = tiny.add(shop_copy, rows, "texts")
    assert (report.rows_accepted, report.rows_quarantined) == (1, 1)
    assert len(report.quarantine) == 1


def test_writer_without_orders_is_in_the_directory(shop_copy):
    tiny.add(shop_copy, row(customer_id="only-wrote"), "texts")
    with shop_copy.database.reading() as session:
        assert session.get(DirectoryEntry, (session.settings.team_id, "only-wrote"))


def test_cutoff_hides_texts_that_were_written_or_read_later(shop_copy):
    at = tiny.BEGIN + timedelta(days=9)
    rows = [row(text_id="known"), row(text_id="next", occurred_at=at)]
    rows += [row(text_id="late", available_at=at)]
    tiny.add(shop_copy, pd.concat(rows), "texts")
    assert [*shop_copy.lake.table("texts", before=at).execute().text_id] == ["known"]


def test_stars_say_the_mood_and_other_texts_learn_from_them(voiced, embeds):
    assert signals.update(voiced.lake) == 300
    assert signals.update(voiced.lake) == 0
    written = voiced.lake.table("texts").execute().set_index("text_id").sort_index()
    mood = moods(voiced.lake)
    has_stars = written.stars.notna()
    assert (mood[has_stars] == (written.stars[has_stars] - 1) / 4).all()
    predicted = mood[~has_stars].dropna()
    is_good = written.text[predicted.index].isin(GOOD)
    assert len(predicted) > 30
    assert ((predicted > 0.5) == is_good).all()


def test_newest_texts_are_embedded_first(voiced, embeds, monkeypatch):
    monkeypatch.setattr(signals, "MAX_NEW", 100)
    for known in (100, 200, 300, 300):
        signals.update(voiced.lake)
        frame = voiced.lake.table("text_signals").order_by("occurred_at", "text_id").execute()
        assert frame.vector.notna().tolist() == [False] * (300 - known) + [True] * known


def test_without_the_extra_moods_are_those_of_stars(voiced, monkeypatch):
    monkeypatch.setattr(extra, "is_installed", lambda: False)
    signals.update(voiced.lake)
    frame = voiced.lake.table("text_signals").execute()
    assert frame.vector.isna().all()
    assert 0 < frame.mood.isna().sum() < len(frame)


def test_outcomes_teach_moods_where_there_are_no_stars(shop_copy, embeds):
    frame = texts(share_without_stars=1.0)
    last = shop_copy.lake.table("events").execute().groupby("customer_id").occurred_at.max()
    left = frame.customer_id.map(last) < frame.occurred_at.dt.tz_convert(None)
    frame["text"] = np.where(left, "I am leaving for good", "see you next week")
    tiny.add(shop_copy, frame, "texts")
    signals.update(shop_copy.lake)
    predicted = moods(shop_copy.lake).dropna()
    left.index = frame.text_id
    assert len(predicted) > 20
    assert predicted[left[predicted.index]].max() < predicted[~left[predicted.index]].min()


def test_later_texts_change_no_earlier_mood_and_no_feature(voiced, embeds):
    """Later ones say the opposite of what their stars said before."""
    cutoff = tiny.BEGIN + timedelta(days=150)
    names = ["complaints_30d", "complaint_recency", "mood_last", "recency_days"]

    def known():
        features = build(voiced.lake, cutoff, Window(28, None), names)
        before = voiced.lake.table("text_signals", before=cutoff).execute()
        frame = features.order_by("customer_id").execute()
        return frame, before.set_index("text_id").mood.sort_index()

    signals.update(voiced.lake)
    frame, mood = known()
    assert frame.complaints_30d.sum() > 5
    later = texts(seed=4).assign(stars=lambda rows: 6 - rows.stars)
    later["text_id"] = "later-" + later.text_id
    is_late = np.arange(len(later)) % 2 == 0
    later["available_at"] = pd.Series(cutoff, later.index).where(is_late)
    later.loc[~is_late, "occurred_at"] += timedelta(days=150)
    later = later[later.occurred_at < tiny.BEGIN + timedelta(days=200)]
    tiny.add(voiced, later, "texts")
    assert signals.update(voiced.lake) > 100
    after, mood_after = known()
    pd.testing.assert_frame_equal(after, frame)
    pd.testing.assert_series_equal(mood_after, mood)


def test_erasure_reaches_texts_moods_and_what_others_wrote_of_the_address(voiced, embeds):
    tiny.add(voiced, row(customer_id="c0002", text_id="other", text="ask ann@x.de"), "texts")
    signals.update(voiced.lake)
    deleted = erasure.erase_from_lake(voiced.lake, ["c0001"])
    assert deleted["texts"] == deleted["text_signals"] > 0
    assert erasure.erase_from_searches(voiced.lake, ["ann@x.de"]) == 1
    signals.update(voiced.lake)
    assert "other" not in moods(voiced.lake).index


def test_old_texts_are_deleted_after_their_period(voiced, embeds):
    old = row(text_id="old", occurred_at=voiced.end - timedelta(days=731))
    tiny.add(voiced, pd.concat([old]), "texts")
    signals.update(voiced.lake)
    upkeep.drop_old(voiced.lake)
    for name in ("texts", "text_signals"):
        ids = voiced.lake.table(name).execute().text_id
        assert len(ids) == 300
        assert "old" not in set(ids)
        assert delta_store.open_table(voiced.lake.root, TABLES[name]) is not None


@pytest.mark.parametrize(
    ("table", "head", "row"),
    [
        (
            "texts",
            "Review ID,user_id,created_at,body,lang,rating,type",
            "r1,c1,2025-01-05,Late,en,1,review",
        ),
        ("relations", "customer_id,friend_id,type,date", "c1,c2,friend,2025-01-05"),
    ],
)
def test_map_is_proposed_for_texts_and_relations(shop_copy, tmp_path, table, head, row):
    file = tmp_path / "rows.csv"
    file.write_text(f"{head}\n{row}\n")
    path = tmp_path / "map.toml"
    path.write_text(suggest(shop_copy.lake, table, str(file), None))
    report = import_files(
        shop_copy.lake, shop_copy.database, shop_copy.settings, table, [str(file)], path
    )
    assert report.rows_accepted == 1
