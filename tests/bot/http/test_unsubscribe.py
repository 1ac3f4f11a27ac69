"""Test the unsubscribe page and a mail program's one-click request."""

import pytest
from sqlalchemy import select, update

from bot.http.web import Site
from retention.db.tables import Audit, Send, Suppression
from retention.outreach import consent
from tests.bot.http.test_server import ask
from tests.retention.outreach import live_campaigns
from tests.world import execute, one, scalars


@pytest.fixture
def site(settings, database) -> Site:
    live_campaigns.start_campaign(database, settings, 10)
    return Site(settings, database)


@pytest.fixture
def link(site) -> str:
    return f"/unsubscribe/{consent.unsubscribe_token(site.settings.keys, 1)}"


def _gone(site) -> list[str]:
    return scalars(site.database, select(Suppression.customer_id))


def test_get_changes_nothing_and_one_post_unsubscribes(site, link):
    status, headers, page = ask(site, "GET", link)
    assert (status, b'<form method="post">' in page) == (200, True)
    assert headers["X-Frame-Options"] == "DENY"
    assert _gone(site) == []
    for _ in range(2):  # a mail reader may ask twice
        status, _, page = ask(site, "POST", link, b"List-Unsubscribe=One-Click")
        assert (status, b"You are unsubscribed" in page) == (200, True)
    send = one(site.database, select(Send).where(Send.id == 1))
    audited = scalars(site.database, select(Audit.action))
    assert (send.state, audited.count("consent.withdrawn")) == ("cancelled", 1)
    assert _gone(site) == [send.customer_id]


@pytest.mark.parametrize(
    "forge",
    [
        lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"),
        lambda t: t.replace("-1-", "-2-"),
        lambda t: "",
        lambda t: "../x",
    ],
)
def test_foreign_token_does_nothing(site, link, forge):
    forged = "/unsubscribe/" + forge(link.removeprefix("/unsubscribe/"))
    assert ask(site, "GET", forged)[0] == ask(site, "POST", forged)[0] == 404
    assert _gone(site) == []


def test_unsubscribe_without_database_does_not_confirm(site, link):
    with site.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE suppressions RENAME TO gone")
    status, _, page = ask(site, "POST", link)
    assert (status, b"try again" in page) == (503, True)


def test_metrics_contain_no_token(site, link):
    ask(site, "GET", link)
    _, _, page = ask(site, "GET", "/metrics")
    assert b"/unsubscribe/" in page
    assert link.encode() not in page


def test_stop_of_an_sms_says_so_and_ends_sms_only(site, link):
    execute(site.database, update(Send).where(Send.id == 1).values(channel="sms"))
    assert b"offers or reminders on SMS" in ask(site, "GET", link)[2]
    status, _, page = ask(site, "POST", link)
    assert (status, b"offers or reminders on SMS" in page) == (200, True)
    assert one(site.database, select(Suppression)).channel == "sms"
