"""Test responses to shown lists, the report about them and feedback for training."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention import feedback, impressions
from retention.db.tables import Impression
from retention.feedback import Subject
from retention.recommend import responses
from retention.recommend.history import DAY, WEIGHTS, read
from retention.recommend.reasons import SOURCES
from retention.recommend.responses import (
    PRIOR_CLICKS,
    examination_probabilities,
    load_responses,
    position_prior,
)
from retention.recommend.serving import UNTRAINED
from retention.registry.model_cache import open_recommender
from retention.reports import charts
from retention.reports.recommendations import Performance, draw_chart, report
from retention.risk.policy import Policy
from retention.templating import text
from tests import readonly, world
from tests.chromium import chromium
from tests.retention.recommend.responses_shop import (
    ITEMS,
    NOW,
    SENT,
    make_responses_shop,
    send_campaign,
)
from tests.retention.recommend.small_shop import SmallShop, bring, totals


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Iterator[SmallShop]:
    """A read-only shop with the impressions of a campaign, responses and one redeemed code."""
    home = tmp_path_factory.mktemp("responses")
    with readonly.shared(send_campaign(make_responses_shop(home))) as shop:
        yield shop


@pytest.fixture
def sent_copy(sent, tmp_path) -> Iterator[SmallShop]:
    """A writable copy of it."""
    copy = readonly.copy_of(sent, tmp_path / "home")
    yield copy
    copy.database.dispose()


def _responses(shop: SmallShop, before: datetime = NOW) -> pd.DataFrame:
    lines = _read(shop, load_responses, before)
    return lines.set_index(["customer_id", "position"])


def _read(shop: SmallShop, query, before: datetime) -> pd.DataFrame:
    """Run a query that reads the lake and the database."""
    return world.read(shop.database, lambda session: query(shop.lake, session, before))


def _report(shop: SmallShop, as_of: datetime = NOW, days: int = 90) -> Performance:
    return report(shop.lake, shop.database, as_of=as_of, days=days)


def test_campaign_lists_keep_position_model_chance_and_responses(sent):
    lines = _responses(sent)
    assert len(lines) == 6
    assert set(lines["model_version"]) == {"recommend-1"}
    assert set(lines["propensity"]) == {0.8}
    assert lines.index[lines["clicked"]].tolist() == [("a", 3)]
    assert lines.loc[("a", 3), "clicked_at"] == SENT + timedelta(days=1)
    assert lines.index[lines["bought"]].tolist() == [("a", 3), ("b", 1)]
    assert lines.index[lines["redeemed"]].tolist() == [("b", 1)]


def test_responses_ignore_later_events(sent):
    early = SENT + timedelta(days=1)
    lines = _responses(sent, early)
    assert len(lines) == 6
    assert not lines[["clicked", "bought", "redeemed"]].any(axis=None)
    assert _responses(sent, SENT).empty
    assert _read(sent, responses.load_feedback, early).empty


def test_last_verdict_of_a_person_counts_on_its_line(sent_copy):
    subject = Subject("a", "recommend-1", SENT, "i2", 2)
    for person in ("U1", "U2"):
        world.change(sent_copy.database, feedback.record, subject, "wrong", person)
    with sent_copy.database.reading() as session:
        assert feedback.refused_items(feedback.item_feedback(session)) == {"a": {"i2"}}
        assert feedback.doubted_scores(session) == ()  # no verdict on a score
        assert feedback.summary(session, "recommend-1")["wrong"] == 0
    later = datetime.now(UTC) + timedelta(days=1)
    lines = _responses(sent_copy, later)
    assert lines["wrong"].to_dict() == {place: 2 * (place == ("a", 2)) for place in lines.index}
    world.change(sent_copy.database, feedback.record, subject, "useful", "U2")
    assert feedback.refused_items(world.read(sent_copy.database, feedback.item_feedback)) == {}


def test_verdict_on_a_merged_id_applies_to_the_customer(sent_copy):
    """Linking a customer must not lose an earlier 'not for them'."""
    with sent_copy.database.transaction() as session:
        feedback.record(session, Subject("b", "recommend-1", SENT, "i2", 2), "wrong", "U1")
        feedback.record(session, Subject("b", "churn-1", SENT), "wrong", "U1", "moved")
    created = [SENT - timedelta(days=age) for age in (90, 60)]
    people = {"customer_id": ["c", "b"], "email": "b@example.com", "created_at": created}
    bring(sent_copy, "customers", pd.DataFrame(people))
    merged = sent_copy.lake.identities.canonical_ids()
    assert merged == {"b": "c"}
    later = datetime.now(UTC) + timedelta(days=1)
    with sent_copy.database.reading() as session:
        recommender = open_recommender(sent_copy.lake, session, Policy())
        assert recommender.terms.refused == {"c": {"i2"}}
        assert feedback.doubted_scores(session, merged) == (("c", SENT),)
    events = _read(sent_copy, responses.load_feedback, later).query("weight < 0")
    assert events[responses.PAIR].to_numpy().tolist() == [["c", "i2"]]
    assert _report(sent_copy, later, days=3000).data["slots"][1]["wrong"] == 1


def test_list_shown_at_the_desk_is_stored_by_position(sent_copy):
    with sent_copy.database.transaction() as session:
        impressions.store_list(
            session, "job1", "a", ITEMS, surface="recommend", model_version="none", at=SENT
        )
        row = impressions.item_at(session, "job1", "a", 2)
        assert (row.item_id, row.title, row.source) == ("i2", "Item 2", "buy_again")
        assert session.query(Impression).count() == 6 + 3


def test_feedback_adds_weight_to_the_history_from_its_time_on(sent):
    at = NOW.timestamp() / DAY
    rows = [
        ("a", "i3", at - 1.5, 0.5),
        ("a", "i9", at - 0.5, -1.0),
        ("nobody", "i1", at - 1, 1.0),
        ("a", "i1", at, 9.0),
    ]
    lines = pd.DataFrame(rows, columns=responses.EVENT_COLUMNS)
    plain = read(sent.lake, NOW)
    with_feedback = responses.add_feedback(plain, lines, NOW)
    before, after = (
        totals(each, at).set_index(["customer_id", "item_id"])["decayed_90"]
        for each in (plain, with_feedback)
    )
    gain = (after - before).dropna()
    assert gain.index[gain.abs() > 1e-9].tolist() == [("a", "i3"), ("a", "i9")]
    assert gain["a", "i3"] == pytest.approx(0.5 * 2 ** (-2 / 90), rel=0.02)
    assert gain["a", "i9"] < -0.9
    assert ("a", "i1") not in after.index
    assert responses.add_feedback(plain, lines[lines["customer_id"] == "nobody"], NOW) is plain


def test_click_at_a_lower_position_weighs_more(sent):
    lines = _responses(sent).reset_index()
    (line,) = responses.click_events(lines, {1: 1.0, 2: 0.63, 3: 0.25}).itertuples()
    assert (line.customer_id, line.item_id) == ("a", "i3")
    # 1/0.25 in total; the event itself counts once
    assert line.weight == pytest.approx(WEIGHTS["email_click"] * 3)
    assert responses.click_events(lines, dict.fromkeys((1, 2, 3), 1.0)).empty


def test_examination_without_clicks_is_the_prior():
    none = pd.DataFrame(
        {"position": [1, 2, 3], "item_id": "a", "source": "popular", "clicked": False}
    )
    assert examination_probabilities(none) == position_prior(3)
    assert examination_probabilities(none.iloc[:0]) == {}


def test_examination_is_recovered_despite_better_items_on_top():
    """Plain click rates mislead because good items are shown on top more often."""
    rng = np.random.default_rng(3)
    theta, gamma = np.array([1.0, 0.5, 0.3, 0.15]), np.linspace(0.1, 0.6, 12)
    item = rng.integers(0, 12, 40_000)
    place = np.clip(np.round(3 - item / 4 + rng.normal(0, 1.2, len(item))), 0, 3).astype(int)
    clicked = rng.random(len(item)) < theta[place] * gamma[item]
    shown = pd.DataFrame(
        {"position": place + 1, "item_id": item.astype(str), "source": "", "clicked": clicked}
    )
    estimate = np.array(list(examination_probabilities(shown).values()))
    click_rates = shown.groupby("position")["clicked"].mean().to_numpy()
    assert estimate == pytest.approx(theta, abs=0.05)
    assert np.abs(click_rates / click_rates[0] - theta).max() > 0.1
    few = examination_probabilities(shown.head(40))
    assert few[2] == pytest.approx(position_prior(4)[2], abs=0.15)
    assert shown.head(40)["clicked"].sum() < PRIOR_CLICKS


def test_report_groups_by_position_reason_model_and_week(sent_copy):
    with sent_copy.database.transaction() as session:
        at, version = SENT + timedelta(days=9), "recommend-2"
        impressions.store_list(
            session, "job1", "a", ITEMS, surface="recommend", model_version=version, at=at
        )
        subject = Subject("a", version, at, "i2", 2)
        feedback.record(session, subject, "wrong", "U1")
    later = datetime.now(UTC) + timedelta(days=1)
    data = _report(sent_copy, later, days=3650).data
    assert data["shown"] == {"customers": 6, "desk": 3}
    counts = [
        tuple(line[name] for name in ("name", "clicked", "bought", "wrong"))
        for line in data["slots"]
    ]
    assert counts == [(1, 0, 1, 0), (2, 0, 0, 1), (3, 1, 1, 0)]
    third = data["slots"][2]
    assert third["click_rate"] == 0.5 < third["corrected"]
    assert third["corrected"] == pytest.approx(0.5 / data["examined"]["3"], rel=0.01)
    # Wilson, 1 of 2
    assert third["buy_rate_interval"] == pytest.approx((0.0945, 0.9055), abs=1e-3)
    assert [(line["name"], line["shown"], line["desk"]) for line in data["models"]] == [
        ("recommend-1", 6, 0),
        ("recommend-2", 0, 3),
    ]
    assert [(line["name"], line["redeemed"]) for line in data["weeks"]] == [
        ("2025-04-28", 1),
        ("2025-05-05", 0),
    ]
    assert _report(sent_copy, later, days=1).data["slots"] == []
    early = _report(sent_copy, SENT + timedelta(days=1), days=30).data
    assert (early["shown"]["customers"], early["clicks"]) == (6, 0)


def test_report_counts_items_with_an_open_window(sent):
    """Items sent a day ago must not lower the rates of the newest week."""
    reports = [_report(sent, SENT + timedelta(days=days)) for days in (1, 27, 28)]
    assert [each.data["open"] for each in reports] == [6, 6, 0]
    assert [[week["open"] for week in each.data["weeks"]] for each in reports] == [[6], [6], [0]]
    notice = "6 items of those sent have not had their four weeks yet"
    for each, has_notice in zip(reports, (True, True, False), strict=True):
        words = text("terminal/recommend_report.txt.j2", zone="UTC", **each.data)
        assert (notice in each.html(sent.settings), notice in words) == (has_notice, has_notice)


@pytest.mark.nightly
def test_report_page_is_static_and_names_sources_in_words(sent):
    performance = _report(sent)
    assert performance.chart.png.startswith(b"\x89PNG")
    assert "place 3: 50.0% clicked" in performance.chart.alt_text
    html = performance.html(sent.settings)
    assert "<script" not in html
    assert "By week" in html
    assert "bought before" in html
    assert "buy_again" not in html
    assert {"due", "new"} < set(SOURCES)  # sources of special offers
    lines = [{**performance.data["reasons"][0], "name": source} for source in SOURCES]
    page_html = Performance({**performance.data, "reasons": lines}).html(sent.settings)
    # This source is named so in the report, too.
    assert [source for source in SOURCES if f">{source}<" in page_html] == ["popular"]


def test_report_without_lists_says_so(sent):
    data = _report(sent).data
    empty = Performance({**data, "slots": [], "weeks": [], "reasons": [], "models": []})
    assert "Nothing was sent yet" in empty.chart.alt_text
    assert "Nothing was shown yet" in empty.html(sent.settings)


def test_report_labels_lists_without_a_model(sent):
    data = _report(sent).data
    data = {**data, "models": [{**data["models"][0], "name": UNTRAINED}]}
    assert "\nno model  " in text("terminal/recommend_report.txt.j2", zone="UTC", **data)
    assert "<td>no model</td>" in Performance(data).html(sent.settings)


@pytest.mark.nightly
def test_report_page_on_a_phone_labels_and_fits_every_figure(sent):
    """Tables must not be cut at 390 pixels."""
    html = _report(sent).html(sent.settings)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_content(html)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        cells = page.evaluate(
            "[...document.querySelectorAll('td.n')].map("
            "one => [one.lastChild.getBoundingClientRect().right, "
            "getComputedStyle(one, '::before').content])"
        )
    assert cells
    assert all(0 < right <= 390 for right, _ in cells)
    assert {name for _, name in cells} >= {'"Sent"', '"Bought"', '"Not for them"'}


def test_chart_scale_labels_equal_their_values(monkeypatch, sent):
    """Small rates must not be rounded to repeated labels."""
    figures = []
    monkeypatch.setattr(charts, "png", lambda made: figures.append(made) or b"")
    data = _report(sent).data
    week = {**data["weeks"][0], "buy_rate": 0.03, "buy_rate_interval": (0.023, 0.038)}
    draw_chart({**data, "weeks": [week]})
    (figure,) = figures
    figure.draw_without_rendering()
    for axes in figure.axes:
        scale = [
            (float(tick.get_text()), at)
            for tick, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        ]
        assert len({label for label, _ in scale}) == len(scale)
        assert [label for label, _ in scale] == pytest.approx([at for _, at in scale])
