"""E-mail to a real SMTP server, well-behaved and not."""

import re
from contextlib import contextmanager
from dataclasses import replace
from email.policy import SMTP, SMTPUTF8

import pytest

from retention.errors import BadInput
from retention.outreach import sends, smtp
from retention.outreach.adapter import Contact, Message, ServerUnavailable
from retention.outreach.bounces import customers_with_bounced_address
from retention.outreach.smtp import SmtpAdapter, build_email, parse_smtp_url
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import LiveCampaign
from tests.standins.smtp import Inbox, Mailserver, only
from tests.world import read

LINK = "https://crm.shop.example/unsubscribe/abc"
BUTTON = {"List-Unsubscribe": f"<{LINK}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def a_message(to="ann@example.com", **changes) -> Message:
    content = "15% off", "Hello Änn", "<p>Hello Änn</p>", LINK
    return replace(Message("c1:7", "c1", "k7", Contact(to, "Änn O'Neil"), *content), **changes)


@contextmanager
def a_server(**says):
    inbox = Inbox(**says)
    server = Mailserver(inbox)
    server.start()
    adapter = SmtpAdapter(server.place)
    # As our patience does when it is over, and not after seconds that a busy machine needs, too.
    inbox.on_hang = adapter._cut
    try:
        yield adapter, inbox
    finally:
        adapter.close()
        server.stop()


def test_email_has_text_html_and_one_click_unsubscribe():
    with a_server() as (adapter, inbox):
        verdict = adapter.send(a_message())
    (mail,) = inbox.mails
    assert verdict.state == "sent"
    assert verdict.message_id == mail["Message-ID"]
    assert {name: mail[name] for name in ("To", "From", *BUTTON)} == {
        "To": "Änn O'Neil <ann@example.com>",
        "From": "The Shop <offers@shop.example>",
        **BUTTON,
    }
    assert mail.get_body(("plain",)).get_content().strip() == "Hello Änn"
    assert mail.get_body(("html",)).get_content().strip() == "<p>Hello Änn</p>"
    assert mail.get_content_type() == "multipart/alternative"


def test_brands_sender_name_and_reply_address_are_in_the_headers():
    with a_server() as (adapter, inbox):
        adapter.send(a_message(sender_name="Ann, Tea\nBcc: x", reply_to="service@shop.example"))
    (mail,) = inbox.mails
    assert mail["From"] == '"Ann, Tea Bcc: x" <offers@shop.example>'
    assert mail["Reply-To"] == "service@shop.example"
    assert mail["Bcc"] is None


@pytest.mark.parametrize("international", [False, True])
def test_long_unsubscribe_link_is_not_folded_in_its_header(international):
    """Mail readers do not decode ``=?utf-8?q?=3Chttps…`` in this header."""
    link = "https://crm.shop.example/unsubscribe/6e0c8841-123456-" + 32 * "d"
    to = "änn@example.com" if international else "ann@example.com"
    sender = parse_smtp_url("smtp://localhost?from=a@b.example&name=Ä").sender
    email = build_email(a_message(to, unsubscribe_url=link), sender)
    sent = email.as_bytes(policy=SMTPUTF8 if international else SMTP)
    assert f"\r\nList-Unsubscribe: <{link}>\r\n".encode() in sent


def test_two_attempts_of_a_send_have_one_message_id():
    sender = parse_smtp_url("smtp://localhost?from=a@b.example").sender
    messages = a_message(), a_message(text="x"), a_message(key="c1:8")
    first, again, other = (build_email(each, sender)["Message-ID"] for each in messages)
    assert first == again != other


@pytest.mark.parametrize(
    ("rcpt", "data", "state"),
    [
        ("450 mailbox busy", None, "again"),
        ("550 <ann@example.com> unknown", None, "bounced"),
        (None, "451 try later", "again"),
        (None, "554 spam", "bounced"),
        (None, "hang up", "doubtful"),
        (None, "hang", "doubtful"),
    ],
)
def test_each_refusal_gives_its_verdict_and_the_next_email_is_sent(rcpt, data, state):
    bad = "ann@example.com"
    says = {
        "on_rcpt": lambda to: rcpt if to == bad else None,
        "on_data": lambda to: data if to == bad else None,
    }
    with a_server(**says) as (adapter, inbox):
        refused = adapter.send(a_message())
        assert adapter.send(a_message("bo@example.com", key="c1:8")).state == "sent"
    assert refused.state == state
    assert bad not in refused.detail
    assert inbox.addresses == {"bo@example.com": 1} | ({bad: 1} if state == "doubtful" else {})


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a b@example.com",
        "@example.com",
        "a@b\r\nBcc: x@example.com",
        "a@example.com>,<b@example.com",
        "a@example.com,b@example.com",
        "=?utf-8?q?a=0D=0ABcc:_x?=@example.com",
        "a\0@example.com",
    ],
)
def test_invalid_address_fails(address):
    with a_server() as (adapter, inbox):
        assert adapter.send(a_message(address)).state == "failed"
    assert not inbox.mails


LONG = f"Smith, Doe, x@example.org, Partners & Sons, {'Attorneys at Law, ' * 4}Ltd"


@pytest.mark.parametrize(
    ("name", "subject", "shown"),
    [
        ("Ann\r\nBcc: y@example.com", "Hi\r\nBcc: x@example.com", "Ann Bcc: y@example.com"),
        # Customers choose their name, and Python decodes line breaks in it.
        ("=?utf-8?q?a=0D=0ABcc:_x@example.com?=", "=?utf-8?q?a=0D=0ABcc:_x@example.com?=", ""),
        ("=?utf-8?b?YQ0KQmNjOiB4QGV4YW1wbGUuY29t?=", "=?utf-8?b?YQ0KQmNjOiB4?=", ""),
        (LONG, "Hi", "Smith, Doe, x@example.org"),
    ],
    ids=["line breaks", "quoted word", "base64 word", "commas"],
)
def test_name_and_subject_add_no_header_and_no_recipient(name, subject, shown):
    with a_server() as (adapter, inbox):
        message = replace(a_message(subject=subject), to=Contact("ann@example.com", name))
        assert adapter.send(message).state == "sent"
    (mail,) = inbox.mails
    assert mail["Bcc"] is None
    (recipient,) = mail["To"].addresses
    assert recipient.addr_spec == "ann@example.com"
    assert recipient.display_name.startswith(shown)
    if "?" not in subject:
        assert mail["Subject"] == " ".join(subject.split())


def test_unreachable_server_or_refused_login_stops_the_run():
    nobody = SmtpAdapter(parse_smtp_url("smtp://127.0.0.1:1/?from=a@b.example"))
    with pytest.raises(ServerUnavailable, match="cannot be used"):
        nobody.send(a_message())
    server = Mailserver(
        Inbox(), authenticator=only("shop", "right"), auth_require_tls=False, auth_required=True
    )
    server.start()
    try:
        place = replace(server.place, user="shop", password="wrong")
        with pytest.raises(ServerUnavailable, match="no encryption"):
            SmtpAdapter(place).send(a_message())
    finally:
        server.stop()


def test_filter_that_refuses_all_content_causes_no_bounces(campaign):
    """A word in the text must not make all customers bounce."""
    refuses = ["554 5.7.1 looks like spam"]

    def says(to):
        return refuses[0] or ("554 5.7.1 spam" if to.startswith("k3@") else None)

    with a_server(on_data=says) as (adapter, _):
        for _ in range(3):
            report = campaign.deliver(adapter)
            assert "is taken so far: 554 5.7.1 looks like spam." in report.stopped
            campaign.end_waits()
        assert campaign.states() == {"queued"}
        refuses[0] = ""
        campaign.deliver(adapter)
    states = campaign.by_customer()
    assert {customer_id for customer_id, state in states.items() if state == "bounced"} == {"k3"}
    assert set(states.values()) == {"sent", "bounced"}
    assert campaign.attempts() == {1}


@pytest.mark.parametrize(
    ("said", "theirs"), [("550 rejected as spam", False), ("550 5.1.1 no such user", True)]
)
def test_refused_content_without_status_does_not_exclude_the_customer(
    database, said, theirs, campaign
):
    """A 550 after the content is about policy (RFC 5321)."""
    with a_server(on_data=lambda to: said if to.startswith("k3@") else None) as (adapter, _):
        campaign.deliver(adapter)
    assert campaign.by_customer()["k3"] == "bounced"
    bounced = read(database, customers_with_bounced_address, live_campaigns.NOW)
    assert bounced == ({"k3"} if theirs else set())


HUNG_UP = "Nothing is taken at present: the connection was lost (421 4.7.0"
RELAY = "carries none of our e-mails: {}"


@pytest.mark.parametrize(
    ("at", "said", "reason"),
    [
        ("on_mail", "451 4.7.1 too many messages from you", "451"),
        ("on_mail", "421 later", "421"),
        ("on_mail", "550 sender unknown", "550"),
        ("on_rcpt", "421 4.7.0 try again later", HUNG_UP),
        ("on_data", "421 4.7.0 try again later", HUNG_UP),
        ("on_rcpt", "554 5.7.1 <k1@example.com>: Relay access denied", RELAY.format(554)),
        ("on_rcpt", "550 5.7.1 Unable to relay", RELAY.format(550)),
        ("on_rcpt", "550 relay not permitted", RELAY.format(550)),
        ("on_rcpt", "530 5.7.0 Authentication required", RELAY.format(530)),
        ("on_rcpt", "554 5.7.1 Client host [192.0.2.1] blocked using a list", RELAY.format(554)),
    ],
)
def test_refusal_that_is_about_us_counts_no_attempt(at, said, reason, campaign):
    """A used-up quota, a lost connection or a missing password must not fail a campaign."""
    refuses = [said]
    with a_server(**{at: lambda _: refuses[0] or None}) as (adapter, inbox):
        for _ in range(3):
            report = campaign.deliver(adapter)
            assert reason in report.stopped
            assert "@" not in report.stopped.replace("offers@shop.example", "")
            campaign.end_waits()
        assert campaign.states() == {"queued"}
        assert campaign.attempts() == {0}
        refuses[0] = ""
        campaign.deliver(adapter)
    assert campaign.states() == {"sent"}
    assert set(inbox.addresses.values()) == {1}


def test_hang_up_on_one_recipient_fails_only_that_send(database, settings):
    campaign = LiveCampaign(database, settings, 12)
    says = "421 4.4.2 the recipient's server does not answer"
    with a_server(on_rcpt=lambda to: says if to == "k3@example.com" else None) as (adapter, inbox):
        for _ in range(sends.MAX_ATTEMPTS):
            report = campaign.deliver(adapter)
            assert report.stopped == ""
            campaign.end_waits()
    states = campaign.by_customer()
    assert states.pop("k3") == "failed"
    assert set(states.values()) == {"sent"}
    assert set(inbox.addresses.values()) == {1}


def test_lease_is_longer_than_an_attempt():
    """An attempt takes up to two connections."""
    assert sends.LEASE.total_seconds() > 2 * (smtp.MESSAGE_TIMEOUT + smtp.MESSAGE_TIMEOUT)


@pytest.mark.parametrize("at", ["on_mail", "on_rcpt", "on_data"])
def test_email_is_sent_on_a_new_connection_after_a_server_limit(at):
    says = iter(["421 4.7.0 too many messages in this session"])
    with a_server(**{at: lambda _: next(says, None)}) as (adapter, inbox):
        assert adapter.send(a_message()).state == "sent"
    assert inbox.addresses == {"ann@example.com": 1}


@pytest.mark.parametrize("refused", [("k3",), ("k3", "k4")], ids=str)
def test_recipient_refused_like_a_sender_fault_blocks_no_others(database, settings, refused):
    """The recipient's own server may give such a reply for one address."""
    campaign = LiveCampaign(database, settings, 12)
    theirs = [f"{who}@example.com" for who in refused]
    says = "550 relay not permitted (asked mx.example.com)"
    with a_server(on_rcpt=lambda to: says if to in theirs else None) as (adapter, inbox):
        for _ in range(3):
            report = campaign.deliver(adapter)
            campaign.end_waits()
    states = campaign.by_customer()
    assert {states.pop(who) for who in refused} == {"queued"}
    assert set(states.values()) == {"sent"}
    assert set(inbox.addresses.values()) == {1}
    assert "relay not permitted" in report.stopped


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 <ann@example.com>: User unknown in relay recipient table",
        "550 5.7.1 message refused",
        "552 5.2.2 relay: full",
    ],
)
def test_refusal_of_an_address_is_not_a_sender_fault(said):
    with a_server(on_rcpt=lambda to: said) as (adapter, _):
        assert adapter.send(a_message()).state == "bounced"


def test_slow_drip_is_cut_off():
    import socket
    import threading

    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        client, _ = listening.accept()
        with client:
            while not over.wait(0.05):
                try:
                    client.sendall(b"2")  # a banner that never ends
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    url = f"smtp://127.0.0.1:{listening.getsockname()[1]}/?from=a@b.example"
    try:
        with pytest.raises(ServerUnavailable):
            SmtpAdapter(parse_smtp_url(url), timeout=0.4, patience=0.5).send(a_message())
    finally:
        over.set()
        thread.join()
        listening.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "no address of a mail server"),
        ("http://x", "no address of a mail server"),
        ("smtp://", "no address"),
        ("smtp://u:secret@mail.example", "whom e-mails are from"),
        ("smtp://mail.example?from=shop", "no e-mail address"),
        ("smtp://u:secret@mail.example:99999?from=a@b.c", "cannot be read"),
    ],
)
def test_invalid_smtp_url_is_reported_without_its_password(url, why):
    with pytest.raises(BadInput, match=re.escape(why)) as refused:
        parse_smtp_url(url)
    assert "secret" not in str(refused.value)
