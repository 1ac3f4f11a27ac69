"""Run the same tests on every mail platform, against its stand-in."""

from contextlib import contextmanager
from datetime import timedelta

import pytest

from retention import clock
from retention.connect import connections
from retention.connect.connections import Access, check_values
from retention.connect.platforms import mail
from retention.errors import BadInput
from retention.outreach.adapter import ADDRESS_REFUSED, Contact, Message, ServerUnavailable
from retention.settings import Settings
from tests.standins import brevo, customer_io, mail_platforms, mailchimp, sendgrid
from tests.standins.mail_platforms import KEY, REFUSED, SENDER

STAND_INS = {
    "brevo": brevo.Brevo,
    "customer.io": customer_io.CustomerIo,
    "klaviyo": mail_platforms.Klaviyo,
    "mailchimp": mailchimp.Mailchimp,
    "sendgrid": sendgrid.SendGrid,
}
EVERY = pytest.mark.parametrize("kind", STAND_INS)


def values_of(kind, stand_in, key=KEY):
    sender = {} if kind == "klaviyo" else {"sender": SENDER}
    return {"key": key, "address": stand_in.url, **sender}


@contextmanager
def connected(kind, key=KEY):
    """Yield the adapter and the stand-in."""
    with STAND_INS[kind].start() as stand_in:
        platform = mail.platform_class(kind)(Access(values_of(kind, stand_in, key)))
        adapter = mail.PlatformMail(platform, kind)
        yield adapter, stand_in
        adapter.close()


def message(key="c1:7", email="ann@example.com"):
    return Message(
        key,
        "c1",
        "k7",
        Contact(email, "Ann"),
        "15 % for you",
        "Hello Ann",
        "<p>Hello Ann</p>",
        "https://crm.shop.example/unsubscribe/t",
        {"code": "7KQ2-M9ZD-4HT6"},
    )


def test_every_platform_has_a_stand_in():
    assert set(STAND_INS) == set(mail.PLATFORMS)


@EVERY
def test_platform_declares_what_it_needs(kind):
    with connected(kind) as (_, stand_in):
        check_values(mail.platform_class(kind).settings, values_of(kind, stand_in))


@EVERY
def test_email_arrives_whole(kind):
    with connected(kind) as (adapter, stand_in):
        adapter.open()
        verdict = adapter.send(message())
        assert (verdict.state, stand_in.sent) == ("sent", ["c1:7"])
        assert verdict.message_id
        told = str(stand_in.bodies[0])
        for part in ("ann@example.com", "15 % for you", "<p>Hello Ann</p>", "/unsubscribe/t"):
            assert part in told


@EVERY
def test_wrong_key_stops_before_the_first_email(kind):
    with connected(kind, key="wrong-secret") as (adapter, stand_in):
        with pytest.raises(ServerUnavailable) as caught:
            adapter.open()
        assert kind in str(caught.value)
        assert "wrong-secret" not in str(caught.value)
        assert not stand_in.sent


@EVERY
@pytest.mark.parametrize("fault", ["unpaid", "gone"])
def test_answer_about_the_account_marks_no_address(kind, fault):
    with connected(kind) as (adapter, stand_in):
        adapter.send(message())
        stand_in.fail(fault)
        with pytest.raises(ServerUnavailable):
            adapter.send(message("c1:8"))


@EVERY
def test_refused_address_bounces_and_others_go_on(kind):
    with connected(kind) as (adapter, stand_in):
        verdict = adapter.send(message(email=REFUSED))
        assert (verdict.state, verdict.code) == ("bounced", ADDRESS_REFUSED)
        assert adapter.send(message("c1:8")).state == "sent"
        assert stand_in.sent == ["c1:8"]


@EVERY
def test_limit_is_kept_for_as_long_as_the_platform_asks(kind):
    with connected(kind) as (adapter, stand_in):
        stand_in.fail("rate_limited", value=120)
        verdict = adapter.send(message())
        assert verdict.state == "again"
        wait = verdict.retry_at - clock.wall()
        assert timedelta(seconds=100) < wait <= timedelta(seconds=120)


@EVERY
@pytest.mark.parametrize("fault", ["server_error", "cut_after_effect"])
def test_lost_answer_is_uncertain(kind, fault):
    with connected(kind) as (adapter, stand_in):
        stand_in.fail(fault)
        assert adapter.send(message()).state == "doubtful"


@EVERY
def test_repeat_is_sent_once_only_where_the_platform_says_so(kind):
    with connected(kind) as (adapter, stand_in):
        for _ in range(2):
            adapter.send(message())
        assert len(stand_in.sent) == (1 if adapter.drops_duplicates else 2)


@EVERY
def test_platform_that_is_away_takes_nothing(kind):
    with connected(kind) as (adapter, stand_in):
        stand_in._server.shutdown()
        stand_in._server.server_close()
        with pytest.raises(ServerUnavailable):
            adapter.send(message())
        stand_in._server.serve_forever = lambda **_: None


def test_key_without_the_right_to_send_is_named():
    with connected("sendgrid") as (adapter, stand_in):
        stand_in.scopes = ("mail.read",)
        with pytest.raises(ServerUnavailable, match="may not send"):
            adapter.open()


def test_sender_without_an_address_is_refused():
    with pytest.raises(BadInput, match="'Tea Shop'"):
        mail.platform_class("brevo")(Access({"key": KEY, "sender": "Tea Shop"}))


# ---------------------------------------------------------------- which connection sends


def test_connection_of_the_setting_sends(settings, database):
    with brevo.Brevo.start() as stand_in, database.transaction() as session:
        connector = mail.platform_class("brevo")
        connections.add(
            session,
            "brevo",
            "brevo",
            connector.settings,
            values_of("brevo", stand_in),
            channel=None,
            by="U0ADMIN",
        )
        session.commit()
        own = Settings(home=settings.home, mail_connection="brevo", _env_file=None)
        with database.using(own).reading() as other:
            adapter = mail.open_channel(other, mail.CHANNEL)
        assert adapter.send(message()).state == "sent"
        adapter.close()


@pytest.mark.parametrize("name", ["brevvo", "shop"])
def test_setting_without_its_connection_is_refused(settings, database, name):
    own = Settings(
        home=settings.home,
        mail_connection=name,
        public_url="https://crm.shop.example",
        _env_file=None,
    )
    with database.transaction() as session:
        connections.add(session, "shop", "shopify", (), {}, channel=None, by="U0ADMIN")
    with database.using(own).reading() as session, pytest.raises(BadInput, match=name):
        mail.check_channel(session)
