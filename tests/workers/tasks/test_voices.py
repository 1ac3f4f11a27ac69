"""Test the report of what customers write: the week, its quotes, the card, and an erasure."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.db.tables import Job, Outbox, TextThemes
from retention.errors import BadInput
from retention.lake import Lake
from retention.reports.last_text import last_text
from retention.reports.voices import voices, voices_line
from retention.texts import extra, theme_store
from tests import shop as tiny
from tests.retention.texts.conftest import embeds, texts, voiced  # noqa: F401 - fixtures
from tests.workers.harness import ADMIN, ask, job
from tests.world import scalars
from workers.job_requests import Forget, Sweep, Voices
from workers.tasks.runner import run_inline, run_job


@pytest.fixture
def desk(admin_shop, embeds):  # noqa: F811
    """A shop with texts at the end of its data."""
    tiny.add(admin_shop, texts(), "texts")
    clock.configure(fixed=admin_shop.end + timedelta(hours=1))
    return admin_shop


def run(desk, request, user="operator"):
    return run_inline(desk.database, request, user=user)


def week(desk, days=28):
    return run(desk, Voices(since=desk.end - timedelta(days=days)))


def test_week_counts_themes_against_as_many_days_before(desk):
    report = week(desk)
    frame = texts()
    at = frame.occurred_at
    days = timedelta(days=28)
    until = clock.now()
    assert report["texts"] == sum(row["texts"] for row in report["themes"])
    assert abs(report["texts"] - ((at >= desk.end - days) & (at < until)).sum()) <= 1
    assert report["before"] > 0
    late = [row for row in report["themes"] if "parcel" in row["title"]]
    assert late
    assert all(row["complaints"] == row["texts"] for row in late)


def test_revenue_at_risk_is_that_of_the_newest_list(desk):
    assert week(desk)["revenue_at_risk"] is None
    run(desk, Sweep(tier="low", top=500))
    report = week(desk)
    assert report["revenue_at_risk"] > 0
    shares = [row["revenue_at_risk"] for row in report["themes"]]
    assert max(shares) <= report["revenue_at_risk"] <= sum(shares) + 0.01 * len(shares)


def test_texts_after_the_end_change_nothing(desk):
    until = desk.end - timedelta(days=20)
    since = until - timedelta(days=28)
    before, themes = voices(desk.lake, desk.database, since, until)
    later = texts(seed=8).assign(text="something else entirely")
    later["text_id"] = "later-" + later.text_id
    later["occurred_at"] = later.occurred_at.where(later.occurred_at >= until, until)
    tiny.add(desk, later, "texts")
    after, again = voices(desk.lake, desk.database, since, until)
    assert after == before
    assert again.to_json() == themes.to_json()


def test_quotes_are_masked_and_leave_messages_with_their_writer(desk):
    at = desk.end - timedelta(days=1)
    words = "late parcel again, still waiting for the parcel, tell ann@x.de or 0171 5551234"
    row = texts(1).assign(text_id="own", text=words, customer_id="c0001", occurred_at=at)
    tiny.add(desk, row, "texts")

    def shown(request):
        stored = ask(desk.database, request, request.kind, channel=ADMIN)
        run_job(desk.database, stored.id, "test")
        assert job(desk.database, stored.id).error is None
        results = scalars(desk.database, select(Job.result).where(Job.kind == "voices"))
        posts = scalars(desk.database, select(Outbox.payload).where(Outbox.key.endswith(":quotes")))
        return [json.dumps(each, ensure_ascii=False) for each in (*results, *posts)]

    result, message = shown(Voices(since=desk.end - timedelta(days=3)))
    assert "tell … or …" in result
    assert "tell … or …" in message
    assert "ann@x.de" not in result + message
    result, message = shown(Forget(customer_id="c0001"))
    assert "tell" not in result + message
    assert "theme" in message


def test_themes_are_stored_once_and_the_digest_names_the_first(desk):
    with desk.database.reading() as session:
        assert voices_line(desk.lake, session, clock.now()) is None
    week(desk)
    (first,) = scalars(desk.database, select(TextThemes.found_at))
    week(desk)
    assert scalars(desk.database, select(TextThemes.found_at)) == [first]
    with desk.database.reading() as session:
        line = voices_line(desk.lake, session, desk.end)
    assert line["texts"] <= line["all"]
    assert line["title"]


def test_few_texts_make_no_themes(shop_copy, embeds):  # noqa: F811
    clock.configure(fixed=shop_copy.end + timedelta(hours=1))
    tiny.add(shop_copy, texts(20), "texts")
    report = week(shop_copy, 150)
    assert (report["themes"], report["known"], report["needed"]) == ([], 20, 60)


def test_day_after_the_data_is_refused(desk):
    with pytest.raises(BadInput) as refusal:
        run(desk, Voices(since=desk.end + timedelta(hours=1)))
    assert refusal.value.field == "since"


def test_without_the_extra_one_sentence_says_how_to_install_it(voiced, monkeypatch):  # noqa: F811
    monkeypatch.setattr(extra, "is_installed", lambda: False)
    with pytest.raises(BadInput, match=r"retention-desk\[texts\]"):
        run(voiced, Voices())


def test_card_has_the_last_text_before_its_time(desk):
    at = desk.end - timedelta(days=2)
    rows = texts(2).assign(customer_id="c0002", occurred_at=[at, at + timedelta(days=1)])
    tiny.add(desk, rows.assign(text_id=["x1", "x2"], text=["first a@b.de", "second"]), "texts")
    lake = Lake.open(desk.settings)
    with desk.database.reading() as session:
        assert last_text(lake, session, "c0002", at + timedelta(hours=1))["text"] == "first …"
        assert last_text(lake, session, "c0002", desk.end)["text"] == "second"
        assert last_text(lake, session, "nobody", desk.end) is None


def test_erasure_drops_phrases_but_not_the_names_that_people_gave(desk):
    week(desk)
    with desk.database.transaction() as session:
        theme_store.rename(session, 1, "Ours", ADMIN)
    run(desk, Forget(customer_id="c0001"), ADMIN)
    (content,) = scalars(desk.database, select(TextThemes.content))
    assert [each["phrases"] for each in content["themes"]] == [[]] * len(content["themes"])
    with desk.database.reading() as session:
        assert voices_line(desk.lake, session, desk.end) is None
    titles = [row["title"] for row in week(desk)["themes"]]
    assert "Ours" in titles
    assert all(titles)


def test_themes_are_found_anew_after_a_quarter(desk):
    week(desk)
    (first,) = scalars(desk.database, select(TextThemes.found_at))
    for days, is_new in ((89, False), (92, True)):
        clock.configure(fixed=first + timedelta(days=days))
        week(desk, 150)
        (found,) = scalars(desk.database, select(TextThemes.found_at))
        assert (found > first) == is_new
