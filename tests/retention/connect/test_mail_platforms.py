"""Run the same tests on every mail platform, against its stand-in."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from retention import clock
from retention.connect import connections, registry
from retention.connect.platforms import mail
from retention.errors import BadInput
from retention.outreach.adapter import ADDRESS_REFUSED, Contact, Message, ServerUnavailable
from retention.settings import Settings
from tests.retention.connect.platforms import connected
from tests.standins.mail_platforms import REFUSED
from tests.standins.profile_platforms import PLATFORMS
from tests.world import change

EVERY = pytest.mark.parametrize("kind", PLATFORMS)


@contextmanager
def mailing(kind, **changes):
    """Yield the adapter of a platform and its stand-in."""
    with connected(kind, **changes) as (platform, stand_in):
        yield mail.PlatformMail(platform, kind), stand_in


@pytest.fixture(params=PLATFORMS)
def pair(request):
    """The adapter of a platform and its stand-in."""
    with mailing(request.param) as pair:
        yield pair


def message(key="c1:7", email="ann@example.com"):
    texts = ("15 % for you", "Hello Ann", "<p>Hello Ann</p>")
    link, offer = "https://crm.shop.example/unsubscribe/t", {"code": "7KQ2-M9ZD-4HT6"}
    return Message(key, "c1", "k7", Contact(email, "Ann"), *texts, link, offer)


def test_every_platform_has_a_stand_in():
    assert set(PLATFORMS) == set(registry.PLATFORMS)


def test_email_arrives_whole(pair):
    adapter, stand_in = pair
    adapter.open()
    verdict = adapter.send(message())
    assert (verdict.state, stand_in.sent) == ("sent", ["c1:7"])
    assert verdict.message_id
    told = str(stand_in.bodies[0])
    for part in ("ann@example.com", "15 % for you", "<p>Hello Ann</p>", "/unsubscribe/t"):
        assert part in told


def test_sender_name_and_reply_address_reach_every_platform(pair):
    adapter, stand_in = pair
    named = replace(message(), sender_name="Ann of Tea", reply_to="service@shop.example")
    assert adapter.send(named).state == "sent"
    sent = str(stand_in.bodies[0])
    assert "Ann of Tea" in sent
    assert "service@shop.example" in sent


@EVERY
def test_wrong_key_stops_before_the_first_email(kind):
    with mailing(kind, key="wrong-secret") as (adapter, stand_in):
        with pytest.raises(ServerUnavailable) as caught:
            adapter.open()
        assert kind in str(caught.value)
        assert "wrong-secret" not in str(caught.value)
        assert not stand_in.sent


@pytest.mark.parametrize("fault", ["unpaid", "gone"])
def test_answer_about_the_account_marks_no_address(pair, fault):
    adapter, stand_in = pair
    adapter.send(message())
    stand_in.fail(fault)
    with pytest.raises(ServerUnavailable):
        adapter.send(message("c1:8"))


def test_refused_address_bounces_and_others_go_on(pair):
    adapter, stand_in = pair
    verdict = adapter.send(message(email=REFUSED))
    assert (verdict.state, verdict.code) == ("bounced", ADDRESS_REFUSED)
    assert adapter.send(message("c1:8")).state == "sent"
    assert stand_in.sent == ["c1:8"]


def test_limit_is_kept_for_as_long_as_the_platform_asks(pair):
    adapter, stand_in = pair
    stand_in.fail("rate_limited", value=120)
    verdict = adapter.send(message())
    assert verdict.state == "again"
    wait = verdict.retry_at - clock.wall()
    assert timedelta(seconds=100) < wait <= timedelta(seconds=120)


@pytest.mark.parametrize("fault", ["server_error", "cut_after_effect"])
def test_lost_answer_is_uncertain(pair, fault):
    adapter, stand_in = pair
    stand_in.fail(fault)
    assert adapter.send(message()).state == "doubtful"


def test_repeat_is_sent_once_only_where_the_platform_says_so(pair):
    adapter, stand_in = pair
    for _ in range(2):
        adapter.send(message())
    assert len(stand_in.sent) == (1 if adapter.drops_duplicates else 2)


def test_platform_that_is_away_takes_nothing(pair):
    adapter, stand_in = pair
    stand_in._server.shutdown()
    stand_in._server.server_close()
    with pytest.raises(ServerUnavailable):
        adapter.send(message())
    stand_in._server.serve_forever = lambda **_: None


def test_key_without_the_right_to_send_is_named():
    with mailing("sendgrid") as (adapter, stand_in):
        stand_in.scopes = ("mail.read",)
        with pytest.raises(ServerUnavailable, match="may not send"):
            adapter.open()


# ---------------------------------------------------------------- which connection sends


def test_connection_of_the_setting_sends(settings, database):
    brevo = PLATFORMS["brevo"]
    with brevo.stand_in.start() as stand_in:
        declared, values = registry.connector_class("brevo").settings, brevo.values(stand_in)
        of = {"channel": None, "by": "U0ADMIN"}
        change(database, connections.add, "brevo", "brevo", declared, values, **of)
        own = Settings(home=settings.home, mail_connection="brevo", _env_file=None)
        with database.using(own).reading() as other:
            adapter = mail.open_channel(other, mail.CHANNEL)
        assert adapter.send(message()).state == "sent"
        adapter.close()


@pytest.mark.parametrize("name", ["brevvo", "shop"])
def test_setting_without_its_connection_is_refused(settings, database, name):
    url = "https://crm.shop.example"
    own = settings.model_copy(update={"mail_connection": name, "public_url": url})
    change(database, connections.add, "shop", "shopify", (), {}, channel=None, by="U0ADMIN")
    with database.using(own).reading() as session, pytest.raises(BadInput, match=name):
        mail.check_channel(session)
