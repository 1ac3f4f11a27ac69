"""Test the webhook against a real HTTP server with faults."""

from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest
from sqlalchemy import select

from retention import clock
from retention.db.tables import Send
from retention.errors import BadInput
from retention.outreach import sends
from retention.outreach.adapter import Contact, ServerUnavailable
from retention.outreach.webhook import WebhookAdapter
from retention.privacy import signing
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import LiveCampaign
from tests.retention.outreach.test_smtp import LINK, a_message
from tests.standins.signed_webhook import KEY, Platform
from tests.world import read, rows, scalar, scalars


def to(platform: Platform) -> WebhookAdapter:
    return WebhookAdapter(platform.url, KEY)


def hasty(platform: Platform) -> WebhookAdapter:
    """For what gets no answer: an answer that comes may come late on a busy machine."""
    return WebhookAdapter(platform.url, KEY, timeout=0.4, patience=0.8)


def test_platform_gets_the_whole_message_signed_without_direction_marks():
    with Platform() as platform:
        adapter = to(platform)
        adapter.open()
        offer = {"action": "coupon", "code": "7KQ2-M9ZD-4HT6"}
        to_ann = Contact("ann@example.com", "\u202eÄnn O'Neil")  # would reverse the text
        verdict = adapter.send(replace(a_message(offer=offer), to=to_ann))
    assert (verdict.state, verdict.message_id) == ("sent", platform.ids["c1:7"])
    assert (adapter.drops_duplicates, platform.refused) == (True, 0)
    (told,) = platform.told
    assert {name: told[name] for name in ("to", "code", "unsubscribe_url", "html")} == {
        "to": {"email": "ann@example.com", "name": "Änn O'Neil"},
        "code": "7KQ2-M9ZD-4HT6",
        "unsubscribe_url": LINK,
        "html": "<p>Hello Änn</p>",
    }


def test_signature_is_valid_only_for_its_body_and_minutes():
    now = clock.wall()
    signed = signing.headers(KEY, b"{}", now)
    stamp, signature = signed[signing.TIMESTAMP], signed[signing.SIGNATURE]
    assert signing.signature_fault(KEY, b"{}", stamp, signature, now) == ""
    assert "body" in signing.signature_fault(KEY, b"{ }", stamp, signature, now)
    assert "body" in signing.signature_fault(b"other", b"{}", stamp, signature, now)
    assert "body" in signing.signature_fault(KEY, b"{}", str(int(stamp) + 1), signature, now)
    for seconds in (302, -302):
        later = now + timedelta(seconds=seconds)
        assert "another time" in signing.signature_fault(KEY, b"{}", stamp, signature, later)
    assert "seconds" in signing.signature_fault(KEY, b"{}", "٣", signature, now)


def test_call_is_signed_with_both_keys_while_they_are_changed():
    now, old, new = clock.wall(), b"0123456789abcdef" * 2, b"fedcba9876543210" * 2
    signed = signing.headers(new + b" " + old, b"{}", now)
    assert signed[signing.SIGNATURE].count("v1=") == 2
    stamp, signature = signed[signing.TIMESTAMP], signed[signing.SIGNATURE]
    for key, is_known in ((old, True), (new, True), (KEY, False)):
        assert (signing.signature_fault(key, b"{}", stamp, signature, now) == "") == is_known


@pytest.mark.parametrize(
    ("does", "state"),
    [
        (500, "doubtful"),
        ("hang", "doubtful"),
        ("drip", "doubtful"),
        ("drop", "doubtful"),
        ("lie", "doubtful"),
        ("accept and 500", "doubtful"),
        (429, "again"),
        (422, "bounced"),
        (410, "bounced"),
    ],
)
def test_each_platform_answer_gives_its_verdict(does, state):
    with Platform(lambda customer, number: does if customer == "k7" else None) as platform:
        verdict = (hasty if does in ("hang", "drip") else to)(platform).send(a_message())
        assert to(platform).send(a_message(customer_id="k8", key="c1:8")).state == "sent"
    assert verdict.state == state
    if does == 429:
        assert timedelta(seconds=100) < verdict.retry_at - clock.wall() <= timedelta(seconds=120)


@pytest.mark.parametrize("does", [500, "hang", "lie", "drop", 404, 302])
def test_failed_probe_sends_no_email(does, campaign):
    with Platform(lambda customer, number: does) as platform:
        adapter = (hasty if does == "hang" else to)(platform)
        report = campaign.deliver(adapter)
    assert "nothing was sent" in report.stopped
    assert not platform.copies
    assert campaign.states() == {"queued"}


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_wrong_url_or_key_stops_the_run_with_a_reason(status):
    answers = [None, status]
    with Platform(lambda customer, number: answers[0]) as platform:
        adapter = to(platform)
        adapter.open()
        answers.reverse()  # somebody has changed it meanwhile
        with pytest.raises(ServerUnavailable, match="RETENTION_WEBHOOK_URL"):
            adapter.send(a_message())
        answers.reverse()
        with pytest.raises(ServerUnavailable, match="401"):
            WebhookAdapter(platform.url, b"another key").open()
    with pytest.raises(ServerUnavailable, match="cannot be reached"):
        WebhookAdapter(platform.url, KEY).open()


@pytest.mark.parametrize(
    ("probe", "says"),
    [
        (429, "The platform answers 429 and takes no more for 120 s."),
        (500, "The platform answers a probe with 500"),
        ("drop", "The platform does not answer a probe"),
        ("lie", "The platform answers a probe with 200"),
    ],
)
def test_other_failure_of_the_second_probe_is_reported(probe, says):
    """URL and key are right, because earlier probes were accepted."""
    answers = [None, probe]
    with Platform(lambda customer, number: answers[0] if customer == "probe" else 400) as platform:
        adapter = to(platform)
        adapter.open()
        answers.reverse()
        with pytest.raises(ServerUnavailable) as reason:
            adapter.send(a_message())
    assert str(reason.value).startswith(says)
    assert (reason.value.until is not None) is (probe == 429)


@pytest.mark.nightly_after(3)
@pytest.mark.parametrize("status", [400, 404, 409, 413, 403, 431, 302])
def test_one_refused_email_does_not_block_the_others(database, settings, status):
    campaign = LiveCampaign(database, settings, 12)
    with Platform(lambda customer, number: status if customer == "k3" else None) as platform:
        reports = []
        for _ in range(sends.MAX_ATTEMPTS + 1):
            reports.append(campaign.deliver(to(platform)))
            campaign.end_waits()
    states = campaign.by_customer()
    assert states.pop("k3") == "failed"
    assert set(states.values()) == {"sent"}
    assert reports[0].stopped == ""
    assert str(status) in scalar(database, select(Send.error).where(Send.customer_id == "k3"))


@pytest.mark.parametrize("status", [404, 422])
def test_platform_that_refuses_all_emails_counts_no_attempt(status, campaign):
    """It accepts probes, but cannot read the messages."""
    refuses = [status]
    with Platform(lambda customer, number: None if customer == "probe" else refuses[0]) as platform:
        for _ in range(3):
            report = campaign.deliver(to(platform))
            assert "None of this campaign's e-mails is taken so far" in report.stopped
            assert f"({status})" in report.stopped
            campaign.end_waits()
        assert campaign.attempts() == {0}
        refuses[0] = None
        campaign.deliver(to(platform))
    assert campaign.states() == {"sent"}


def test_first_refused_customer_bounces_and_blocks_no_others(campaign):
    with Platform(lambda customer, number: 422 if customer == "k1" else None) as platform:
        campaign.deliver(to(platform), rounds=2)
    states = campaign.by_customer()
    assert states.pop("k1") == "bounced"
    assert set(states.values()) == {"sent"}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    "asked",
    [{}, {"Retry-After": "120"}, {"Retry-After": f"Wed, 21 Oct {20 * '9'} 07:28:00 GMT"}],
    ids=["for how long it does not say", "120 s", "a date that is none"],
)
def test_requested_pause_is_kept_and_fails_no_send(database, settings, asked):
    """No further e-mail is tried during Retry-After."""
    campaign, free = LiveCampaign(database, settings, 40), [0]

    def does(customer, number):
        if customer == "probe":
            return None
        free[0] -= 1
        return 429 if free[0] < 0 else None

    with Platform(does, slow_down=asked) as platform:
        for _ in range(10):
            free[0] = 4
            report = campaign.deliver(to(platform))
            tried = sum(platform.tries.values())
            assert not read(database, sends.due_campaigns, settings.team_id, live_campaigns.NOW)
            campaign.deliver(to(platform))
            assert sum(platform.tries.values()) == tried + 2  # the probe alone
            campaign.end_waits()
    assert campaign.states() == {"sent"}
    assert set(platform.copies.values()) == {1}
    assert report.stopped == ""


@pytest.mark.parametrize("unasked", ["probe", "nobody"])
def test_requested_pause_is_reported_and_kept(database, settings, unasked, campaign):
    """Answers to probes and to e-mails can both ask for a pause."""
    with Platform(lambda customer, number: None if customer == unasked else 429) as platform:
        report = campaign.deliver(to(platform))
    assert not read(database, sends.due_campaigns, settings.team_id, live_campaigns.NOW)
    assert report.stopped == "The platform answers 429 and takes no more for 120 s."


@pytest.mark.parametrize(("minutes", "waits"), [(30, 30), (-30, 1), (60 * 24 * 365, 6 * 60)])
def test_pause_can_be_requested_until_a_date(database, monkeypatch, minutes, waits, campaign):
    """Retry-After holds seconds or a date."""
    wall = clock.wall().replace(microsecond=0)
    monkeypatch.setattr(clock, "wall", lambda: wall)
    until = format_datetime(wall + timedelta(minutes=minutes), usegmt=True)
    with Platform(lambda customer, number: 429, slow_down={"Retry-After": until}) as platform:
        campaign.deliver(to(platform))
    assert set(scalars(database, select(Send.retry_at))) == {wall + timedelta(minutes=waits)}


@pytest.mark.parametrize(
    "url", ["", "platform", "ftp://x.example/", "http://platform.example/hook", "https://[x/"]
)
def test_invalid_webhook_url_is_rejected(url):
    with pytest.raises(BadInput, match="RETENTION_WEBHOOK_URL"):
        WebhookAdapter(url, KEY)
    with pytest.raises(BadInput, match="RETENTION_WEBHOOK_KEY"):
        WebhookAdapter("https://platform.example/hook", b"")


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(("honours", "held"), [(True, set()), (False, {"k2", "k3", "k4"})])
def test_uncertain_emails_are_repeated_only_if_duplicates_are_dropped(
    database, settings, honours, held
):
    campaign = LiveCampaign(database, settings, 12)
    faults = {"k2": "accept and 500", "k3": "accept and drop", "k4": "lie", "k7": 429}
    if honours:
        faults |= {"k5": 500, "k6": "hang"}

    def does(customer, number):
        return faults.get(customer) if number == 0 else None

    with Platform(does, honours=honours) as platform:
        campaign.deliver(to(platform), rounds=2)
    states = campaign.by_customer()
    assert {customer for customer, state in states.items() if state == "held"} == held
    assert set(states.values()) <= {"sent", "held"}
    assert max(platform.copies.values()) == 1
    errors = dict(rows(database, select(Send.customer_id, Send.error)))
    assert ("does not confirm" in (errors["k4"] or "")) is not honours
