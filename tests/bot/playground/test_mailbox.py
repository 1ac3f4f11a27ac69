"""Test the demo's mailbox: what the desk's own sender hands over, and its page."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bot.playground.mailbox.mailbox import MAX_EMAILS, Mailbox, smtp_url
from bot.playground.mailbox.routes import mailbox_routes
from bot.playground.server import free_port
from bot.playground.workspace import Store
from retention.outreach.adapter import Contact, Message
from retention.outreach.smtp import SmtpAdapter, build_email, parse_smtp_url
from tests.standins.slack import StandIn

HTML = '<html><head><title>T</title></head><body><script>x</script><p id="offer">15%</p></body>'


def message(name: str = "Ruth Reyes", number: int = 1) -> Message:
    text = {"subject": "15% off <b>now</b>", "text": "Hello Ruth, grün", "html": HTML}
    ids = {"key": f"c1:{number}", "campaign_id": "c1", "customer_id": str(number)}
    to, unsubscribe = Contact(f"household.{number}@example.com", name), "http://127.0.0.1:8000/u/x"
    return Message(**ids, **text, to=to, unsubscribe_url=unsubscribe, offer={})


@contextmanager
def receiving(mailbox: Mailbox) -> Iterator[SmtpAdapter]:
    """The desk's sender, connected to the mailbox."""
    port, loop, stop = free_port(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        server = await mailbox.serve(port)
        ready.set()
        await asyncio.to_thread(stop.wait)
        server.close()

    ready = threading.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    adapter = SmtpAdapter(parse_smtp_url(smtp_url(port)))
    try:
        yield adapter
    finally:
        adapter.close()
        stop.set()
        thread.join(10)
        loop.close()


@pytest.fixture
def mailbox(tmp_path) -> Mailbox:
    return Mailbox(Store(tmp_path / "playground.db"))


@pytest.fixture
def filled(mailbox) -> Iterator[StandIn]:
    sender = parse_smtp_url(smtp_url(2525)).sender
    for number, name in ((1, "Ruth Reyes"), (2, "Omar <b>Diaz</b>")):
        mailbox.add(build_email(message(name, number), sender).as_bytes())
    with StandIn.start(routes=mailbox_routes(mailbox)) as slack:
        yield slack


def test_sent_emails_are_kept_over_a_restart(mailbox, tmp_path) -> None:
    with receiving(mailbox) as adapter:
        assert adapter.send(message()).state == "sent"
        assert adapter.send(message("Zoë", 2)).state == "sent"
    reopened = Mailbox(Store(tmp_path / "playground.db"))
    count, emails = reopened.search("", 10)
    assert (count, [email["id"] for email in emails]) == (2, [2, 1])
    assert "Zoë <household.2@example.com>" in emails[0]["to"]
    stored = reopened.read(1)
    assert stored is not None
    assert stored["List-Unsubscribe"] == "<http://127.0.0.1:8000/u/x>"
    assert stored["From"] == "Journey Grocers <offers@journey-grocers.example>"


def test_oldest_emails_make_room(mailbox, monkeypatch) -> None:
    monkeypatch.setattr("bot.playground.mailbox.mailbox.MAX_EMAILS", 2)
    assert MAX_EMAILS > 2
    for number in range(3):
        mailbox.add(f"Subject: {number}\r\n\r\n".encode())
    assert [email["subject"] for email in mailbox.search("", 10)[1]] == ["2", "1"]
    assert mailbox.read(1) is None


def test_search_needs_all_words_in_address_or_subject(mailbox) -> None:
    mailbox.add(b"To: Ruth <r@example.com>\r\nSubject: 15% off\r\n\r\n")
    mailbox.add(b"To: Omar <o@example.com>\r\nSubject: 15% off\r\n\r\n")
    assert [email["id"] for email in mailbox.search("15% RUTH", 10)[1]] == [1]
    assert mailbox.search("nobody", 10) == (0, [])


def test_email_is_shown_in_a_sandbox_that_runs_and_loads_nothing(filled) -> None:
    page = filled.http.get("/mailbox/emails/1/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox allow-popups" in policy
    assert "allow-scripts" not in policy
    assert '<p id="offer">' in page.text
    assert filled.http.get("/mailbox").headers["content-security-policy"].endswith("'self'")
    text = filled.http.get("/mailbox/emails/1").json()
    assert "grün" in text["text"]
    assert ["Subject", "15% off <b>now</b>"] in text["headers"]


def test_unknown_email_and_foreign_page_are_refused(filled) -> None:
    assert filled.http.get("/mailbox/emails/9").status_code == 404
    assert filled.http.get("/mailbox/emails/9/html").status_code == 404
    foreign = {"origin": "https://evil.example"}
    assert filled.http.get("/mailbox/emails", headers=foreign).status_code == 403
