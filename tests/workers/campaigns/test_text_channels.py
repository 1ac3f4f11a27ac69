"""Test campaigns by SMS and WhatsApp: consent, numbers, the webhook and STOP."""

import logging
from datetime import timedelta

import pandas as pd
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from retention import clock, templating
from retention.campaigns.lifecycle.launch import recipient_rows
from retention.db.tables import Job, Outbox, Send, Suppression
from retention.errors import BadInput
from retention.outreach import bounces, consent
from tests.standins.signed_webhook import KEY, Platform
from tests.workers.campaigns.desk import ANALYST, LOW
from workers.campaigns import decisions
from workers.campaigns.follow_ups import channel_request
from workers.campaigns.job_requests import CampaignDeliver, CampaignPreview


@pytest.fixture
def platform():
    with Platform() as stand_in:
        yield stand_in


@pytest.fixture
def texting(desk, platform):
    """The shop of this test, with a platform and with people in four groups.

    By the customer's number modulo 4: 0 agreed and has a number, 1 agreed and has none that works,
    2 refused, 3 said nothing about SMS and agreed to e-mails.
    """
    texting = desk.with_settings(
        sms_webhook_url=SecretStr(platform.url),
        webhook_key=SecretStr(KEY.decode()),
        public_url="https://crm.shop.example",
        send_rate=1000,
    )
    people = desk.table("customers").sort_values("customer_id", ignore_index=True)
    group = people.index % 4
    consents = [{2: False, 3: None}.get(each, True) for each in group]
    phones = ["0000" if each == 1 else f"07400 123{number:03}" for number, each in enumerate(group)]
    people = people.assign(phone=phones, locale="en-GB", marketing_consent=True)
    agreed = people.assign(sms_consent=consents, whatsapp_consent=None)
    desk.lake.upsert("customers", agreed)
    return texting, dict(zip(people["customer_id"], group, strict=True))


def _deliver(desk) -> None:
    job = desk.done(CampaignDeliver(campaign_id=desk.campaign_id))
    assert not job.result["stopped"]


def _send(desk) -> None:
    """Draft, approve and send a campaign through the real tasks."""
    desk.approved(message_channel="sms")
    desk.send_now()
    _deliver(desk)


@pytest.mark.nightly
def test_sms_goes_to_those_who_agreed_and_have_a_number(texting, platform, caplog):
    desk, groups = texting
    caplog.set_level(logging.DEBUG)
    # What they say about e-mails does not count
    desk.lake.upsert("customers", desk.table("customers").assign(marketing_consent=False))
    _send(desk)
    body = desk.body()
    assert body.excluded == {"no_consent": 52, "no_phone": 26}  # of 104 active ones
    assert (body.audience, body.contact_cost) == (26, 0.06)
    recipients = desk.read(recipient_rows, desk.campaign())
    codes = {row["customer_id"]: row["code"] for row in recipients}
    assert set(desk.rows(select(Send.channel, Send.state))) == {("sms", "sent")}
    told = {message["customer_id"]: message for message in platform.told}
    assert told.keys() == codes.keys() == {*desk.arms()["treatment"]}
    assert {groups[customer] for customer in told} == {0}
    posted = str([vars(row) for row in desk.scalars(select(Outbox))])
    for private in ("7400 123", "7400123"):
        assert private not in caplog.text + posted
    for customer, message in told.items():
        assert message["to"].keys() == {"phone"}
        assert message["to"]["phone"].startswith("+447400123")
        assert (message["code"] or "") in message["text"]
        assert message["text"].endswith(message["opt_out"])
        assert message["unsubscribe_url"].startswith("https://crm.shop.example/unsubscribe/")
        assert "html" not in message
        values = {"channel": "sms", "code": codes[customer], "parts": 1}
        assert message.items() >= (values | {"characters": len(message["text"])}).items()
    assert desk.customers_of_file() == told.keys()


@pytest.mark.nightly
def test_stop_and_bounce_of_an_sms_end_that_channel_only(texting, platform):
    desk, _ = texting
    _send(desk)
    send = desk.scalars(select(Send))[0]
    token = next(
        message["unsubscribe_url"]
        for message in platform.told
        if message["customer_id"] == send.customer_id
    ).rpartition("/")[2]
    assert consent.read_unsubscribe_token(desk.settings.keys, token) == send.id
    assert desk.change(consent.unsubscribe, send.id, clock.now())
    row = desk.one(select(Suppression))
    assert (row.customer_id, row.channel) == (send.customer_id, "sms")
    channels, mine = ("email", "sms", "whatsapp"), pd.Series([send.customer_id])
    with desk.database.reading() as session:
        states = [consent.consent_states(desk.lake, session, mine, each) for each in channels]
    assert [state.item() for state in states] == ["given", "refused", "unknown"]
    customer = desk.scalars(select(Send.customer_id))[1]
    since, at = clock.now() - timedelta(days=1), clock.now() + timedelta(hours=1)
    for channel, outcome in (("email", "unknown"), ("sms", "bounced")):
        bounce = bounces.Bounce(at, customer, channel=channel)
        assert desk.change(bounces.mark_bounced, [bounce])[0] == [outcome]
    bounced = bounces.customers_with_bounced_address
    assert [desk.read(bounced, since, each) for each in channels[:2]] == [set(), {customer}]


def _share_number(desk, customers) -> None:
    people = desk.table("customers")
    people.loc[people["customer_id"].isin(customers), "phone"] = "+44 7400 999999"
    desk.lake.upsert("customers", people)


@pytest.mark.nightly
def test_shared_number_gets_one_sms_and_its_stop_counts_for_all(texting, platform):
    desk, groups = texting
    sharing = [customer for customer, group in groups.items() if group == 0][:9]
    _share_number(desk, sharing)
    _send(desk)
    assert desk.body().excluded["same_number"] == 26 - desk.body().audience > 0
    numbers = [message["to"]["phone"] for message in platform.told]
    assert len(numbers) == len(set(numbers))
    desk.change(consent.withdraw, sharing[0], "unsubscribe", clock.now(), None, "sms")
    with desk.database.reading() as session:
        states = consent.consent_states(desk.lake, session, pd.Series(sharing), "sms")
        by_email = consent.consent_states(desk.lake, session, pd.Series(sharing))
    assert set(states) == {"refused"}
    assert set(by_email) == {"given"}


@pytest.mark.nightly
@pytest.mark.parametrize("when", ["before sending", "before delivery"])
def test_number_shared_since_the_draft_gets_nothing_if_one_is_held_out(texting, platform, when):
    desk, _ = texting
    desk.approved(message_channel="sms")
    groups = desk.arms()
    sharing = [groups["control"][0], *groups["treatment"][:2]]
    if when == "before sending":
        _share_number(desk, sharing)
    desk.send_now()
    if when == "before delivery":
        _share_number(desk, sharing)
    _deliver(desk)
    assert {message["customer_id"] for message in platform.told} == {*groups["treatment"][2:]}
    if when == "before sending":
        shared = "2 customers whose phone number another customer of the campaign has"
        assert shared in desk.thread("same_number")


def test_email_consent_never_allows_whatsapp(texting):
    desk, _ = texting
    request = LOW.model_copy(update={"message_channel": "whatsapp"})
    without_platform = desk.with_settings(sms_webhook_url=None).run(request, ANALYST)
    assert "set RETENTION_SMS_WEBHOOK_URL" in without_platform.error
    policy = desk.settings.policy
    text = policy.read_text().replace("[campaign]", '[campaign]\nconsent = "unless_refused"')
    policy.write_text(text)
    error = desk.run(request, ANALYST).error
    assert "whatsapp_consent is missing for" in error
    assert "The consent to e-mails does not count" in error


def test_consent_withdrawn_after_the_draft_gets_nothing(texting, platform):
    desk, _ = texting
    desk.approved(message_channel="sms")
    desk.send_now()
    desk.lake.upsert("customers", desk.table("customers").assign(sms_consent=None))
    _deliver(desk)
    assert platform.told == []
    rows = desk.rows(select(Send.state, Send.error_code))
    assert set(rows) == {("cancelled", "no_consent")}


@pytest.mark.campaign("draft")
def test_draft_changes_to_a_channel_that_has_consent_and_keeps_its_edits(texting):
    desk, _ = texting
    before, campaign = desk.body(), desk.campaign()
    assert before.message_channel == "email"
    job = desk.run(channel_request(desk.settings, campaign, "whatsapp"), ANALYST)
    assert "whatsapp_consent is missing" in job.error  # and the draft stays as it is
    campaign.body = {**campaign.body, "drafted_for": None}  # as in an earlier version
    with pytest.raises(BadInput, match="campaign draft --channel sms"):
        channel_request(desk.settings, campaign, "sms")
    edit = decisions.Changes(name="Spring", expires_days=9)
    request = channel_request(desk.settings, desk.decide(decisions.edit, ANALYST, edit), "sms")
    assert (request.version, request.tier) == (2, "low")
    desk.done(request, ANALYST)
    campaign, after = desk.campaign(), desk.body()
    assert (campaign.version, campaign.state, campaign.name) == (3, "draft", "Spring")
    assert (after.message_channel, after.expires_days, after.contact_cost) == ("sms", 9, 0.06)
    assert after.audience < before.audience
    assert after.copy_text != before.copy_text
    assert "SMS" in desk.thread("edited", version=3)
    assert "SMS: 10% coupon" in desk.card()


def test_preview_shows_the_text_its_length_and_no_number_in_a_channel(texting):
    desk, _ = texting
    preview = CampaignPreview(campaign_id=desk.drafted(message_channel="sms"))
    in_thread = preview.model_copy(update={"picture": True})
    copy = desk.done(in_thread, ANALYST).result["copies"][0]
    assert (copy["kind"], copy["to"], copy["parts"]) == ("sms", "…", 1)
    message = desk.thread("preview")
    assert f"{len(copy['text'])} characters, 1 SMS" in message
    assert "Reply STOP to end." in message
    private = desk.run(preview, ANALYST, ANALYST).result
    numbers = [copy["to"] for copy in private["copies"]]
    assert all(len(number) == 3 and number.startswith("…") for number in numbers)
    desk.run(preview, ANALYST)
    stored = [vars(row) for table in (Outbox, Job) for row in desk.scalars(select(table))]
    assert "7400" not in str(stored)
    printed = templating.text("terminal/campaign_preview.txt.j2", result=private, zone="UTC")
    assert "SMS to" in printed
    assert "E-mail" not in printed
