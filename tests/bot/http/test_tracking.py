"""Test the links and the pixel of e-mails over HTTP."""

import threading
from contextlib import suppress
from itertools import count
from urllib.parse import quote

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from bot.group_commit import GroupCommit
from bot.http.web import Site
from retention.db.insert import insert_once
from retention.db.tables import CampaignLink, MessageEvent, Send
from retention.keys import sign_numbers
from retention.outreach import tracking
from tests.bot.http.test_server import ask
from tests.bot.real_server import running_bot
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.test_machines import IPHONE
from tests.workers.harness import wait
from tests.world import change, execute, rows

PAGE = "https://shop.example/tee?größe=1"
LINK = tracking.link_number(PAGE)
PERSON = {"User-Agent": IPHONE}


@pytest.fixture
def site(settings, database) -> Site:
    live_campaigns.start_campaign(database, settings, 10)
    execute(database, update(Send).values(tracks_opens=True, tracks_clicks=True))
    page = {"campaign_id": "c1", "number": LINK, "url": PAGE, "team_id": settings.team_id}
    change(database, insert_once, CampaignLink, **page)
    return Site(settings, database)


@pytest.fixture
def click(site) -> str:
    return f"/c/{sign_numbers(site.settings.keys, 'click', 1, LINK)}"


@pytest.fixture
def pixel(site) -> str:
    return f"/o/{sign_numbers(site.settings.keys, 'open', 1)}"


def _stored(site) -> list[tuple]:
    event = MessageEvent
    columns = select(event.kind, event.link, event.times).order_by(event.id)
    return rows(site.database, columns)


def _break(site) -> None:
    with site.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE message_events RENAME TO gone")


def test_click_is_stored_and_opens_the_page(site, click):
    for _ in range(2):
        status, headers, _ = ask(site, "GET", click, headers=PERSON)
        assert (status, headers["Location"]) == (302, quote(PAGE, safe=":/?="))
    assert headers["Cache-Control"] == "no-store"
    assert _stored(site) == [("click", LINK, 2)]


def test_pixel_is_stored_and_never_cached(site, pixel):
    status, headers, body = ask(site, "GET", pixel, headers=PERSON)
    assert (status, headers["Content-Type"], body[:6]) == (200, "image/gif", b"GIF89a")
    assert headers["Cache-Control"] == "no-store"
    assert _stored(site) == [("open", 0, 1)]


def test_check_of_a_link_does_not_count(site, click, pixel):
    assert ask(site, "HEAD", click, headers=PERSON)[0] == 302
    assert ask(site, "HEAD", pixel, headers=PERSON)[0] == 200
    assert _stored(site) == []


def test_flood_opens_its_page_and_stops_counting(site, click):
    answers = {ask(site, "GET", click, headers=PERSON)[0] for _ in range(40)}
    ((_, _, times),) = _stored(site)
    assert (answers, times < 30) == ({302}, True)


def test_foreign_token_opens_nothing(site, click, pixel):
    keys = site.settings.keys
    foreign = [
        click[:-1] + ("0" if click[-1] != "0" else "1"),
        f"/c/{sign_numbers(keys, 'click', 1, 5)}",  # no page of the campaign
        f"/c/{sign_numbers(keys, 'click', 999, LINK)}",
        f"/c/{sign_numbers(keys, 'open', 1)}",
        f"/o/{sign_numbers(keys, 'click', 1, LINK)}",
        f"{click}?to=https://evil.example".replace("/c/", "/c/x"),
        "/c/https://evil.example",
    ]
    assert {ask(site, "GET", path, headers=PERSON)[0] for path in foreign} == {404}
    assert _stored(site) == []


def test_known_page_opens_without_database(site, click, pixel):
    _break(site)
    status, headers, _ = ask(site, "GET", click, headers=PERSON)
    assert (status, headers["Location"]) == (302, quote(PAGE, safe=":/?="))
    with site.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE campaign_links RENAME TO pages")
    assert ask(site, "GET", click, headers=PERSON)[0] == 302
    assert ask(site, "GET", pixel, headers=PERSON)[0] == 200
    assert ask(Site(site.settings, site.database), "GET", click, headers=PERSON)[0] == 503


def test_click_and_open_while_the_database_is_locked_count_later(site, click, pixel, monkeypatch):
    def locked(*_):
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    monkeypatch.setattr(GroupCommit, "store", locked)
    for path in (click, pixel):
        ask(site, "GET", path, headers=PERSON)
    wait(lambda: _stored(site) == [("click", LINK, 1), ("open", 0, 1)])


def test_metrics_contain_no_token_of_an_email(site, click, pixel):
    for path in (click, pixel):
        ask(site, "GET", path, headers=PERSON)
    page = ask(site, "GET", "/metrics")[2]
    assert b'"/c/"' in page
    assert click.encode() not in page


@pytest.mark.nightly
def test_answered_clicks_survive_kills(settings, database, site):
    """A click was lost when the bot was killed."""
    numbers, answered = count(2), []
    links = range(2, 4_000)
    with database.transaction() as session:
        own = {"campaign_id": "c1", "url": PAGE, "team_id": settings.team_id}
        session.add_all(CampaignLink(number=link, **own) for link in links)

    def click_on(bot) -> None:
        with suppress(OSError, EOFError):
            while bot.process.poll() is None:
                link, send = next(numbers), 1 + len(answered) % 9
                token = sign_numbers(settings.keys, "click", send, link)
                status, _, _ = bot.request("GET", f"/c/{token}", headers=PERSON)
                assert status == 302
                answered.append((send, link))

    for number in range(1, 9):
        with running_bot(settings) as bot:
            people = [threading.Thread(target=click_on, args=(bot,)) for _ in range(4)]
            for person in people:
                person.start()
            wait(lambda goal=6 * number: len(answered) >= goal)
            bot.process.kill()
            for person in people:
                person.join()
    event = MessageEvent
    stored = rows(database, select(event.send_id, event.link, event.times))
    assert {*answered} <= {(send, link) for send, link, _ in stored}
    assert {times for _, _, times in stored} == {1}
