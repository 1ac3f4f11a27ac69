"""Test consent by channel: nobody gets a message on a channel that they did not agree to."""

from datetime import timedelta
from itertools import compress, product

import pandas as pd
import pytest
from sqlalchemy import select

from retention.campaigns.message.text_message import channel_policy
from retention.campaigns.planning.audience import Selection, select_audience
from retention.db.tables import DirectoryEntry, Send, Suppression
from retention.errors import BadInput
from retention.lake import Lake
from retention.outreach import consent, sends
from retention.outreach.adapter import (
    CONSENT_COLUMN,
    MESSAGE_CHANNELS,
    TEXT_CHANNELS,
    Contact,
    require_text_channel,
)
from retention.outreach.consent import customers_without_consent
from retention.outreach.contacts import find_numbers, with_numbers
from retention.outreach.dispatch import open_adapter, sending_channel
from retention.outreach.webhook import WebhookAdapter
from retention.risk.policy import DEFAULT, read_policy
from retention.settings import Settings
from tests import world
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import NOW, LiveCampaign
from tests.standins.signed_webhook import KEY, Platform
from tests.world import add, change, read, scalars

ANSWERS = (True, False, None)


def policy_with(section, **values):
    """The usual policy with other values in a section."""
    usual = read_policy(DEFAULT)
    changed = getattr(usual, section).model_copy(update=values)
    return usual.model_copy(update={section: changed})


@pytest.fixture
def people(settings, database) -> tuple[Lake, pd.DataFrame]:
    """Every combination of answers and unsubscribes of the three channels."""
    rows = [
        {
            "customer_id": f"k{number}",
            **dict(zip(CONSENT_COLUMN.values(), answers, strict=True)),
            "left": [*compress(MESSAGE_CHANNELS, has_left)],
        }
        for number, (answers, has_left) in enumerate(
            product(product(ANSWERS, repeat=3), product((False, True), repeat=3))
        )
    ]
    frame, lake = pd.DataFrame(rows), Lake.open(settings)
    lake.upsert("customers", frame.drop(columns="left"))
    with database.transaction() as session:
        for row in rows:
            own = {"customer_id": row["customer_id"], "source": "test"}
            session.add_all(Suppression(**own, channel=channel) for channel in row["left"])
    return lake, frame


@pytest.mark.parametrize("asks", ["required", "unless_refused"])
@pytest.mark.parametrize("channel", MESSAGE_CHANNELS)
def test_only_own_consent_and_own_unsubscribe_of_a_channel_count(
    people, settings, database, channel, asks
):
    lake, frame = people
    policy = policy_with("campaign", consent=asks)
    offers = {customer: {"rule": "High risk"} for customer in frame["customer_id"]}
    with database.reading() as session:
        without = customers_without_consent(lake, session, policy, offers, channel)
    accepted = (True, None) if (channel, asks) == ("email", "unless_refused") else (True,)
    expected = {
        row["customer_id"]
        for row in frame.to_dict("records")
        if row[CONSENT_COLUMN[channel]] in accepted and channel not in row["left"]
    }
    assert offers.keys() - without == expected
    assert len(frame) == 27 * 8


def test_unsubscribe_cancels_the_queued_sends_of_its_channel(settings, database):
    with database.transaction() as session:
        for number, channel in enumerate(("webhook", "email", "sms", "whatsapp", "call")):
            session.add(world.campaign(f"c{number}", state="live"))
            session.flush()
            own = {"campaign_id": f"c{number}", "customer_id": "k1"}
            session.add(Send(**own, channel=channel, queued_at=NOW))
    with database.transaction() as session:
        assert consent.withdraw(session, "k1", "unsubscribe", NOW, channel="sms")
        assert not consent.withdraw(session, "k1", "unsubscribe", NOW, channel="sms")
    assert _queued(database) == {"webhook", "email", "whatsapp", "call"}
    assert change(database, consent.withdraw, "k1", "unsubscribe", NOW)
    assert _queued(database) == {"whatsapp"}


def test_suppressed_send_is_cancelled_by_its_channel(settings, database):
    with database.transaction() as session:
        session.add(world.campaign("c1", state="live"))
        session.flush()
        for customer, channel in (("k1", "sms"), ("k2", "sms"), ("k3", "webhook")):
            own = {"campaign_id": "c1", "customer_id": customer}
            session.add(Send(**own, channel=channel, queued_at=NOW))
        for customer, channel in (("k1", "sms"), ("k2", "email"), ("k3", "whatsapp")):
            session.add(Suppression(customer_id=customer, channel=channel, source="test"))
    change(database, sends.cancel_suppressed, "c1")
    states = live_campaigns.send_states(database)
    assert states == {"k1": "cancelled", "k2": "queued", "k3": "queued"}


def test_numbers_for_texts_take_the_policys_country_and_are_mobile(settings):
    lake = Lake.open(settings)
    numbers = {
        "international": ("+49 151 23456789", None, "+4915123456789"),
        "by policy": ("0151 23456789", "de", "+4915123456789"),
        "foreign locale": ("0151 23456788", "en-US", "+4915123456788"),
        "landline": ("030 901820", "de-DE", None),
        "premium": ("+44 909 879 0123", "en-GB", None),
        "toll-free": ("+44 800 123 4567", "en-GB", None),
        "landline or mobile": ("+1 212 555 2368", "en-US", "+12125552368"),
        "too short": ("+44 12", "en-GB", None),
        "no number": ("ask the shop", "en-GB", None),
        "none": (None, "en-GB", None),
    }
    rows = [(who, phone, locale) for who, (phone, locale, _) in numbers.items()]
    frame = pd.DataFrame(rows, columns=["customer_id", "phone", "locale"])
    lake.upsert("customers", frame)
    policy = policy_with("identity", country="DE")
    expected = {who: number for who, (_, _, number) in numbers.items() if number}
    assert find_numbers(lake, policy, [*numbers]) == expected
    assert "by policy" not in find_numbers(lake, read_policy(DEFAULT), [*numbers])


@pytest.mark.parametrize(
    ("phone", "locale", "number"),
    [
        ("07400 123456", "en-GB", "+447400123456"),
        ("138 0013 8000", "zh-Hans-CN", "+8613800138000"),
        ("07400 123456", "en", ""),
    ],
)
def test_number_takes_the_country_of_the_locale_if_the_policy_has_none(phone, locale, number):
    contact = Contact(phone=phone, locale=locale)
    assert with_numbers({"k1": contact}, read_policy(DEFAULT))["k1"].phone == number


@pytest.mark.parametrize("channel", TEXT_CHANNELS)
def test_text_without_a_webhook_names_the_setting(settings, channel):
    with pytest.raises(BadInput, match="RETENTION_SMS_WEBHOOK_URL"):
        require_text_channel(settings, channel)
    require_text_channel(settings, "email")


@pytest.mark.parametrize(
    ("ways", "by"),
    [
        ({}, "csv"),
        ({"smtp_url": "smtp://mail.example/?from=a@shop.example"}, "email"),
        ({"webhook_url": "https://platform.example/hook"}, "webhook"),
        ({"mail_connection": "newsletter"}, "platform"),
    ],
)
def test_sms_platform_leaves_the_way_of_emails_as_it_is(ways, by):
    texts = {"sms_webhook_url": "https://sms.example/hook", "webhook_key": "shared" * 6}
    before = Settings(**ways, webhook_key="shared" * 6, _env_file=None)
    after = Settings(**ways, **texts, _env_file=None)
    assert [sending_channel(one, "email") for one in (before, after)] == [by, by]
    assert sending_channel(after, "sms") == "sms"


def test_webhook_of_emails_sends_no_sms():
    emails = {"webhook_url": "https://platform.example/hook", "webhook_key": "shared" * 6}
    settings = Settings(**emails, _env_file=None)
    with pytest.raises(BadInput, match="set RETENTION_SMS_WEBHOOK_URL"):
        require_text_channel(settings, "sms")
    with pytest.raises(BadInput, match="RETENTION_SMS_WEBHOOK_URL cannot be used"):
        open_adapter(settings, "sms")


def test_sms_is_retried_under_its_key_and_arrives_once(settings, database):
    """500 after accepting, then 200: the platform drops the repeated key."""
    campaign = LiveCampaign(database, settings, 12, message_channel="sms")
    refused, uncertain, *_ = [f"k{number}" for number in range(12)]

    def faults(customer: str, number: int) -> object:
        if customer == refused:
            return 422
        return "accept and 500" if customer == uncertain and number == 0 else None

    people = {f"k{n}": Contact(phone=f"+4474001234{n:02}" if n != 5 else "") for n in range(12)}
    with Platform(faults) as platform:
        adapter = WebhookAdapter(platform.url, KEY)
        campaign.deliver(adapter, people, rounds=2)
    states = campaign.by_customer()
    assert states.pop(refused, "bounced") == "bounced"
    assert states.pop("k5", "failed") == "failed"  # has no number
    assert set(states.values()) == {"sent"}
    assert platform.copies == dict.fromkeys(states, 1)
    assert {one["channel"] for one in platform.told} == {"sms"}
    for one in platform.told:
        assert one["to"] == {"phone": people[one["customer_id"]].phone}
        assert one["parts"] >= 1


def test_sms_waits_for_the_end_of_quiet_hours(settings, database):
    campaign = LiveCampaign(database, settings, 4, message_channel="sms")
    people = {f"k{number}": Contact(phone="+447400123456") for number in range(4)}
    later = {"allowed_from": lambda contact, at: at + timedelta(hours=3)}
    with Platform() as platform:
        adapter = WebhookAdapter(platform.url, KEY)
        campaign.deliver(adapter, people, **later)
    assert platform.told == []
    assert campaign.states() == {"queued"}


def _queued(database) -> set[str]:
    return set(scalars(database, select(Send.channel).where(Send.state == "queued")))


@pytest.mark.parametrize("channel", MESSAGE_CHANNELS)
def test_consent_of_the_channel_counts_at_the_draft_and_again_at_the_send(
    people, settings, database, channel
):
    lake, frame = people
    numbers = [f"+491579991{number:04}" for number in range(len(frame))]
    lake.upsert("customers", frame.drop(columns="left").assign(phone=numbers))
    add(database, *(DirectoryEntry(customer_id=who, pseudonym=who) for who in frame.customer_id))
    policy = channel_policy(settings, policy_with("campaign", consent="required"), channel)
    scores = frame[["customer_id"]].assign(
        **{"churn_probability": 0.6, "tier": "high", "reasons": "[]", "expected_value": 50.0}
    )
    selection = Selection(NOW, NOW + timedelta(hours=1), channel)
    drafted = read(
        database, lambda session: select_audience(lake, session, policy, scores, selection)
    )
    chosen = list(drafted.customers.customer_id)
    agreed = [
        row["customer_id"]
        for row in frame.to_dict("records")
        if row[CONSENT_COLUMN[channel]] is True and channel not in row["left"]
    ]
    assert sorted(chosen) == sorted(agreed)

    answered, left, elsewhere, *_ = chosen
    taken_back = pd.DataFrame({"customer_id": [answered], CONSENT_COLUMN[channel]: [False]})
    lake.upsert("customers", taken_back)
    change(database, consent.withdraw, left, "unsubscribe", NOW, channel=channel)
    other = next(each for each in MESSAGE_CHANNELS if each != channel)
    change(database, consent.withdraw, elsewhere, "unsubscribe", NOW, channel=other)
    offers = {customer: {"rule": "High risk"} for customer in chosen}
    args = (policy, offers, channel)
    at_send = read(database, lambda session: customers_without_consent(lake, session, *args))
    assert at_send == {answered, left}
