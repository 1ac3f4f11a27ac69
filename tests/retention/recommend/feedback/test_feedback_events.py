"""Lists as they were shown, what came of them, and what the next training hears of it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention import feedback, impressions
from retention.db.tables import Assignment, Campaign, Coupon, Impression
from retention.feedback import Subject
from retention.recommend.feedback import feedback_events
from retention.recommend.feedback.exposure import PSEUDO, examined, prior
from retention.recommend.feedback.responses import seen
from retention.recommend.history import DAY, WEIGHTS, pairs, read
from retention.recommend.reasons import SOURCES
from retention.recommend.serving import UNTRAINED
from retention.registry.recommender_in_use import open_desk
from retention.reports import charts
from retention.reports.recommendations import Performance, drawn, report
from retention.risk.policy import Policy
from retention.templating import text
from tests.chromium import chromium
from tests.retention.recommend.small_shop import SmallShop, make_shop
from workers.delivery import render
from workers.requests import RecommendReport
from workers.tasks import recommend_report
from workers.tasks.interface import Context

SENT = datetime(2025, 5, 1, 9, tzinfo=UTC)
NOW = datetime(2025, 6, 1, tzinfo=UTC)
ITEMS = [
    {"item_id": f"i{place}", "title": f"Item {place}", "source": "buy_again"} for place in (1, 2, 3)
]


@pytest.fixture
def shop(tmp_path) -> SmallShop:
    """Three customers who bought before and answered after a campaign of 1 May; c is held out."""
    day = timedelta(days=1)
    lines = [(who, "purchase", SENT - 30 * day, "i9", {"order_id": f"old-{who}"}) for who in "abc"]
    lines += [
        ("a", "email_click", SENT + day, "i3", {}),
        ("a", "email_click", SENT + 2 * day, "i3", {}),
        ("a", "purchase", SENT + 2 * day, "i3", {"order_id": "o1"}),
        ("b", "purchase", SENT + 3 * day, "i1", {"order_id": "o2"}),
        ("b", "purchase", SENT + 29 * day, "i2", {"order_id": "o3"}),  # after the window
        ("b", "email_click", SENT - day, "i2", {}),  # before it was shown
        ("c", "email_click", SENT + day, "i1", {}),  # nothing was shown to c
    ]
    return make_shop(
        tmp_path, lines, [(f"i{place}", f"Item {place}", "things", 2.0) for place in (1, 2, 3, 9)]
    )


@pytest.fixture
def sent(shop) -> SmallShop:
    """The same with the campaign's impressions and one redeemed code."""
    offer = {
        "items": ITEMS,
        "recommended_by": "recommend-1",
        "arm": "both",
        "propensity": 0.8,
        "action": "coupon",
    }
    with shop.database.transaction() as session:
        campaign = Campaign(
            id="camp",
            team_id="local",
            name="May",
            post_key="job:1",
            body={},
            salt="s",
            drafted_by="U1",
            created_at=SENT,
        )
        session.add(campaign)
        session.flush()
        for who, arm in (("a", "treatment"), ("b", "treatment"), ("c", "control")):
            session.add(
                Assignment(
                    campaign_id="camp",
                    customer_id=who,
                    team_id="local",
                    arm=arm,
                    bucket=1,
                    tier="high",
                    churn_probability=0.6,
                    expected_value=10.0,
                    offer=offer,
                )
            )
        session.add(
            Coupon(
                code="X",
                team_id="local",
                campaign_id="camp",
                customer_id="b",
                state="redeemed",
                expires_at=NOW,
                redeemed_at=SENT + timedelta(days=3),
                order_id="o2",
            )
        )
        assert impressions.of_campaign(session, shop.settings, campaign, SENT) == 6
    return shop


def _seen(shop: SmallShop, before: datetime = NOW) -> pd.DataFrame:
    with shop.database.reading() as session:
        return seen(shop.lake, session, shop.settings, before).set_index(
            ["customer_id", "position"]
        )


def test_a_campaigns_lists_are_kept_with_place_model_arm_and_chance_and_what_came_of_them(sent):
    found = _seen(sent)
    assert len(found) == 6
    assert set(found["model_version"]) == {"recommend-1"}
    assert set(found["propensity"]) == {0.8}
    assert found.index[found["clicked"]].tolist() == [("a", 3)]
    assert found.loc[("a", 3), "clicked_at"] == SENT + timedelta(days=1)
    assert found.index[found["bought"]].tolist() == [("a", 3), ("b", 1)]
    assert found.index[found["redeemed"]].tolist() == [("b", 1)]


def test_the_future_answers_nothing_in_the_past(sent):
    early = SENT + timedelta(days=1)
    found = _seen(sent, early)
    assert len(found) == 6
    assert not found[["clicked", "bought", "redeemed"]].any(axis=None)
    assert _seen(sent, SENT).empty
    with sent.database.reading() as session:
        assert feedback_events.gather(sent.lake, session, sent.settings, early).empty


def test_words_are_stored_beside_the_line_they_are_about_and_the_last_one_counts(sent):
    subject = Subject("a", "recommend-1", SENT, "i2", 2)
    with sent.database.transaction() as session:
        feedback.record(session, sent.settings, subject, "wrong", "U1")
        feedback.record(session, sent.settings, subject, "wrong", "U2")
    with sent.database.reading() as session:
        assert feedback.refused(feedback.of_items(session, sent.settings)) == {"a": {"i2"}}
        assert feedback.doubted(session, sent.settings) == ()  # not a word on a score
        assert feedback.summary(session, sent.settings, "recommend-1")["wrong"] == 0
    later = datetime.now(UTC) + timedelta(days=1)
    found = _seen(sent, later)
    assert found["wrong"].to_dict() == {place: 2 * (place == ("a", 2)) for place in found.index}
    with sent.database.transaction() as session:
        feedback.record(session, sent.settings, subject, "useful", "U2")
        assert feedback.refused(feedback.of_items(session, sent.settings)) == {}


def test_a_word_on_an_id_that_is_merged_since_is_one_on_the_customer(sent):
    """Who was linked after somebody had said 'not for them' was offered the item again, and the report lost the word."""
    with sent.database.transaction() as session:
        feedback.record(
            session, sent.settings, Subject("b", "recommend-1", SENT, "i2", 2), "wrong", "U1"
        )
        feedback.record(
            session, sent.settings, Subject("b", "churn-1", SENT), "wrong", "U1", "moved"
        )
    people = [
        {"customer_id": who, "email": "b@example.com", "created_at": SENT - timedelta(days=age)}
        for who, age in (("c", 90), ("b", 60))
    ]
    sent._bring("customers", pd.DataFrame(people))
    merged = sent.lake.identities.canonical_ids()
    assert merged == {"b": "c"}
    later = datetime.now(UTC) + timedelta(days=1)
    with sent.database.reading() as session:
        desk = open_desk(sent.lake, session, sent.settings, Policy())
        assert desk.terms.refused == {"c": {"i2"}}
        assert feedback.doubted(session, sent.settings, merged) == (("c", SENT),)
        said = feedback_events.gather(sent.lake, session, sent.settings, later)
        assert said[said["weight"] < 0][["customer_id", "item_id"]].to_numpy().tolist() == [
            ["c", "i2"]
        ]
    assert (
        report(sent.lake, sent.database, sent.settings, as_of=later, days=3000).data["slots"][1][
            "wrong"
        ]
        == 1
    )


def test_a_list_of_the_desk_is_kept_and_found_by_its_place(shop):
    with shop.database.transaction() as session:
        impressions.keep(
            session,
            shop.settings,
            "job1",
            "a",
            ITEMS,
            surface="recommend",
            model_version="none",
            at=SENT,
        )
        row = impressions.found(session, shop.settings, "job1", "a", 2)
        assert (row.item_id, row.title, row.source, row.position) == (
            "i2",
            "Item 2",
            "buy_again",
            2,
        )
        assert session.query(Impression).count() == 3


def test_what_was_heard_becomes_weight_in_the_history_and_only_from_when_it_was_heard(shop):
    at = NOW.timestamp() / DAY
    lines = pd.DataFrame(
        [
            ("a", "i3", at - 1.5, 0.5),
            ("a", "i9", at - 0.5, -1.0),
            ("nobody", "i1", at - 1, 1.0),
            ("a", "i1", at, 9.0),
        ],
        columns=list(feedback_events.COLUMNS),
    )
    plain = read(shop.lake, NOW)
    told = feedback_events.with_heard(plain, lines, NOW)
    before, after = (
        pairs(one, at).frame(one).set_index(["customer_id", "item_id"])["decayed_90"]
        for one in (plain, told)
    )
    gained = (after - before).dropna()
    assert gained.index[gained.abs() > 1e-9].tolist() == [("a", "i3"), ("a", "i9")]
    assert gained["a", "i3"] == pytest.approx(0.5 * 2 ** (-2 / 90), rel=0.02)
    assert gained["a", "i9"] < -0.9
    assert ("a", "i1") not in after.index
    assert feedback_events.with_heard(plain, lines[lines["customer_id"] == "nobody"], NOW) is plain


def test_a_click_further_down_is_worth_more(sent):
    answers = _seen(sent).reset_index()
    (line,) = feedback_events.clicks(answers, {1: 1.0, 2: 0.63, 3: 0.25}).itertuples()
    assert (line.customer_id, line.item_id) == ("a", "i3")
    assert line.weight == pytest.approx(
        WEIGHTS["email_click"] * 3
    )  # 1/0.25 in all: the event itself counts once
    assert feedback_events.clicks(answers, dict.fromkeys((1, 2, 3), 1.0)).empty


def test_without_clicks_the_prior_answers():
    none = pd.DataFrame(
        {"position": [1, 2, 3], "item_id": "a", "source": "popular", "clicked": False}
    )
    assert examined(none) == prior(3)
    assert examined(none.iloc[:0]) == {}


def test_how_places_are_looked_at_is_recovered_although_the_best_items_stand_first():
    """40,000 lines, looked at with 1, .5, .3, .15; good items stand first more often, so that plain click rates mislead."""
    rng = np.random.default_rng(3)
    theta, gamma = np.array([1.0, 0.5, 0.3, 0.15]), np.linspace(0.1, 0.6, 12)
    item = rng.integers(0, 12, 40_000)
    place = np.clip(np.round(3 - item / 4 + rng.normal(0, 1.2, len(item))), 0, 3).astype(int)
    clicked = rng.random(len(item)) < theta[place] * gamma[item]
    shown = pd.DataFrame(
        {"position": place + 1, "item_id": item.astype(str), "source": "", "clicked": clicked}
    )
    found = np.array(list(examined(shown).values()))
    plain = shown.groupby("position")["clicked"].mean().to_numpy()
    assert found == pytest.approx(theta, abs=0.05)
    assert np.abs(plain / plain[0] - theta).max() > 0.1
    few = examined(shown.head(40))
    assert few[2] == pytest.approx(prior(4)[2], abs=0.15)
    assert shown.head(40)["clicked"].sum() < PSEUDO


def test_the_report_tells_places_reasons_models_and_weeks_apart(sent):
    with sent.database.transaction() as session:
        impressions.keep(
            session,
            sent.settings,
            "job1",
            "a",
            ITEMS,
            surface="recommend",
            model_version="recommend-2",
            at=SENT + timedelta(days=9),
        )
        subject = Subject("a", "recommend-2", SENT + timedelta(days=9), "i2", 2)
        feedback.record(session, sent.settings, subject, "wrong", "U1")
    later = datetime.now(UTC) + timedelta(days=1)
    data = report(sent.lake, sent.database, sent.settings, as_of=later, days=3650).data
    assert data["shown"] == {"customers": 6, "desk": 3}
    slots = {one["name"]: one for one in data["slots"]}
    assert [slots[place]["clicked"] for place in (1, 2, 3)] == [0, 0, 1]
    assert [slots[place]["bought"] for place in (1, 2, 3)] == [1, 0, 1]
    assert [slots[place]["wrong"] for place in (1, 2, 3)] == [0, 1, 0]
    assert slots[3]["click_rate"] == 0.5 < slots[3]["corrected"]
    assert slots[3]["corrected"] == pytest.approx(0.5 / data["examined"]["3"], rel=0.01)
    assert slots[3]["buy_rate_interval"] == pytest.approx(
        (0.0945, 0.9055), abs=1e-3
    )  # Wilson, 1 of 2
    assert [(one["name"], one["shown"], one["desk"]) for one in data["models"]] == [
        ("recommend-1", 6, 0),
        ("recommend-2", 0, 3),
    ]
    assert [(one["name"], one["redeemed"]) for one in data["weeks"]] == [
        ("2025-04-28", 1),
        ("2025-05-05", 0),
    ]
    assert report(sent.lake, sent.database, sent.settings, as_of=later, days=1).data["slots"] == []
    early = report(
        sent.lake, sent.database, sent.settings, as_of=SENT + timedelta(days=1), days=30
    ).data
    assert (early["shown"]["customers"], early["clicks"]) == (6, 0)


def test_the_report_says_whose_four_weeks_are_not_over(sent):
    """The newest weeks always looked worse than those before: what was sent a day ago counted as bought by nobody."""
    told = [
        report(sent.lake, sent.database, sent.settings, as_of=SENT + timedelta(days=days), days=90)
        for days in (1, 27, 28)
    ]
    assert [one.data["open"] for one in told] == [6, 6, 0]
    assert [[week["open"] for week in one.data["weeks"]] for one in told] == [[6], [6], [0]]
    said = "6 items of those sent have not had their four weeks yet"
    assert [said in one.html(sent.settings) for one in told] == [True, True, False]
    assert [
        said in text("terminal/recommend_report.txt.j2", zone="UTC", **one.data) for one in told
    ] == [
        True,
        True,
        False,
    ]


def test_the_reports_message_and_page_name_nobody(sent):
    context = Context(
        sent.settings,
        sent.database,
        job_id="j",
        attempt=1,
        requested_by="U1",
        channel="C1",
        thread_key=None,
        business_at=NOW,
    )
    outcome = recommend_report.run(RecommendReport(days=90, as_of=NOW), context)
    message, page = outcome.posts
    shown = render.message(
        message.template,
        zone="UTC",
        demo=False,
        **{k: v for k, v in message.values.items() if k != "demo"},
    )
    said = " ".join(str(block) for block in shown.blocks)
    assert "By place" in said
    assert "bought before" in said
    assert message.images["rates"].content.startswith(b"\x89PNG")
    assert "place 3: 50.0% clicked" in message.images["rates"].alt_text
    written = page.file.content.decode()
    assert "<script" not in written
    assert "By week" in written
    assert "bought before" in written
    assert "buy_again" not in written
    assert {"due", "new"} < set(SOURCES)  # of an offer's own kind
    lines = [{**outcome.data["reasons"][0], "name": one} for one in SOURCES]
    named = Performance({**outcome.data, "reasons": lines}).html(sent.settings)
    assert [one for one in SOURCES if f">{one}<" in named] == ["popular"]  # whose word it is, too
    empty = Performance({**outcome.data, "slots": [], "weeks": [], "reasons": [], "models": []})
    assert "Nothing was sent yet" in empty.chart.alt_text
    assert "Nothing was shown yet" in empty.html(sent.settings)


def test_lists_that_no_model_made_are_told_as_that_in_the_terminal_and_on_the_page(sent):
    data = report(sent.lake, sent.database, sent.settings, as_of=NOW, days=90).data
    data = {**data, "models": [{**data["models"][0], "name": UNTRAINED}]}
    assert "\nno model  " in text("terminal/recommend_report.txt.j2", zone="UTC", **data)
    assert "<td>no model</td>" in Performance(data).html(sent.settings)


def test_on_a_phone_every_figure_of_the_page_stands_beside_its_name_and_none_is_cut(sent):
    """At 390 pixels the tables ended after their fourth column, with nothing to show that there was more."""
    written = report(sent.lake, sent.database, sent.settings, as_of=NOW, days=90).html(
        sent.settings
    )
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": 390, "height": 800})
        shown.set_content(written)
        assert shown.evaluate("document.documentElement.scrollWidth") == 390
        cells = shown.evaluate(
            "[...document.querySelectorAll('td.n')].map(one => [one.lastChild.getBoundingClientRect().right, "
            "getComputedStyle(one, '::before').content])"
        )
    assert cells
    assert all(0 < right <= 390 for right, _ in cells)
    assert {name for _, name in cells} >= {'"Sent"', '"Bought (95 %)"', '"Not for them"'}


def test_the_pictures_scales_are_what_they_say(monkeypatch, sent):
    """Of rates of a few per cent the scale read 0, 0, 1, 2, 2, 2, 3."""
    drawn_ = []
    monkeypatch.setattr(charts, "png", lambda made: drawn_.append(made) or b"")
    data = report(sent.lake, sent.database, sent.settings, as_of=NOW, days=90).data
    week = {**data["weeks"][0], "buy_rate": 0.03, "buy_rate_interval": (0.023, 0.038)}
    drawn({**data, "weeks": [week]})
    (made_,) = drawn_
    made_.draw_without_rendering()
    for axes in made_.axes:
        scale = [
            (float(one.get_text()), at)
            for one, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        ]
        assert len({said for said, _ in scale}) == len(scale)
        assert [said for said, _ in scale] == pytest.approx([at for _, at in scale])
