"""Test campaigns by SMS and WhatsApp: consent, numbers, the webhook and STOP."""

import logging
from datetime import timedelta

import pandas as pd
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from retention import clock, templating
from retention.campaigns.lifecycle.launch import recipient_rows
from retention.campaigns.lifecycle.states import Step
from retention.db.tables import Assignment, Job, Outbox, Send, Suppression
from retention.errors import BadInput
from retention.outreach import bounces, consent
from tests import world
from tests.retention.outreach.platform import KEY, Platform
from tests.workers.campaigns.steps import (
    ANALYST,
    LEAD,
    approved,
    campaign_of,
    done,
    drafted,
    messages,
    rows_of_file,
    run,
    send_now,
    with_settings,
)
from tests.world import change, one, scalars
from workers.campaigns import decisions
from workers.campaigns.follow_ups import channel_request
from workers.campaigns.requests import CampaignDeliver, CampaignDraft, CampaignPreview


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
    texting = with_settings(
        desk,
        sms_webhook_url=SecretStr(platform.url),
        webhook_key=SecretStr(KEY.decode()),
        public_url="https://crm.shop.example",
        send_rate=1000,
    )
    people = desk.lake.table("customers").execute().sort_values("customer_id", ignore_index=True)
    group = people.index % 4
    consents = [True if one < 2 else False if one == 2 else None for one in group]
    phones = [
        "0000" if one == 1 else f"07400 123{number:03}"
        for number, one in zip(people.index, group, strict=True)
    ]
    people = people.assign(phone=phones, locale="en-GB", marketing_consent=True)
    agreed = people.assign(sms_consent=consents, whatsapp_consent=None)
    desk.lake.upsert("customers", agreed)
    groups = dict(zip(people["customer_id"], group, strict=True))
    return texting, groups


def _sent(desk) -> str:
    """Draft, approve and send a campaign through the real tasks."""
    campaign_id = approved(desk, message_channel="sms")
    send_now(desk, campaign_id)
    job = done(desk, CampaignDeliver(campaign_id=campaign_id), LEAD)
    assert not job.result["stopped"]
    return campaign_id


def test_sms_goes_to_those_who_agreed_and_have_a_number(texting, platform, caplog):
    desk, groups = texting
    caplog.set_level(logging.DEBUG)
    campaign_id = _sent(desk)
    campaign = campaign_of(desk, campaign_id)
    assert campaign.body["excluded"] == {"no_consent": 52, "no_phone": 26}  # of 104 active ones
    assert campaign.body["audience"] == 26
    assert campaign.body["contact_cost"] == 0.06
    with desk.database.reading() as session:
        rows = {row["customer_id"]: row for row in recipient_rows(session, campaign)}
        states = session.execute(select(Send.channel, Send.state)).tuples().all()
        in_control = set(
            session.scalars(select(Assignment.customer_id).where(Assignment.arm == "control"))
        )
        posted = str([vars(row) for row in session.scalars(select(Outbox))])
    assert rows
    assert set(states) == {("sms", "sent")}
    told = {one["customer_id"]: one for one in platform.told}
    assert told.keys() == rows.keys()
    assert {groups[customer] for customer in told} == {0}
    assert not told.keys() & in_control
    for customer, message in told.items():
        assert message["channel"] == "sms"
        assert set(message["to"]) == {"phone"}
        assert message["to"]["phone"].startswith("+447400123")
        assert message["code"] == rows[customer]["code"]
        assert (message["code"] or "") in message["text"]
        assert message["text"].endswith(message["opt_out"])
        assert (message["characters"], message["parts"]) == (len(message["text"]), 1)
        assert message["unsubscribe_url"].startswith("https://crm.shop.example/unsubscribe/")
        assert "html" not in message
        assert "name" not in message["to"]
    for private in ("7400 123", "7400123"):
        assert private not in caplog.text
        assert private not in posted


@pytest.mark.nightly
def test_stop_ends_that_channel_only(texting, platform):
    desk, _ = texting
    _sent(desk)
    send = one(desk.database, select(Send).limit(1))
    token = next(
        one["unsubscribe_url"] for one in platform.told if one["customer_id"] == send.customer_id
    ).rpartition("/")[2]
    assert consent.read_unsubscribe_token(desk.settings.keys, token) == send.id
    assert change(desk.database, consent.unsubscribe, send.id, clock.now())
    with desk.database.reading() as session:
        (row,) = session.scalars(select(Suppression))
        assert (row.customer_id, row.channel) == (send.customer_id, "sms")
        ids = desk.lake.table("customers").execute()["customer_id"]
        mine, channels = ids[ids == send.customer_id], ("email", "sms", "whatsapp")
        states = [*(consent.consent_states(desk.lake, session, mine, each) for each in channels)]
    assert [state.item() for state in states] == ["given", "refused", "unknown"]


def _share_number(desk, customers) -> None:
    people = desk.lake.table("customers").execute()
    people.loc[people["customer_id"].isin(customers), "phone"] = "+44 7400 999999"
    desk.lake.upsert("customers", people)


@pytest.mark.nightly
def test_shared_number_gets_one_sms_and_its_stop_counts_for_all(texting, platform):
    desk, groups = texting
    sharing = [customer for customer, group in groups.items() if group == 0][:9]
    _share_number(desk, sharing)
    campaign = campaign_of(desk, _sent(desk))
    assert campaign.body["excluded"]["same_number"] == 26 - campaign.body["audience"] > 0
    numbers = [one["to"]["phone"] for one in platform.told]
    assert len(numbers) == len(set(numbers))
    change(desk.database, consent.withdraw, sharing[0], "unsubscribe", clock.now(), None, "sms")
    with desk.database.reading() as session:
        states = consent.consent_states(desk.lake, session, pd.Series(sharing), "sms")
        by_email = consent.consent_states(desk.lake, session, pd.Series(sharing))
    assert set(states) == {"refused"}
    assert set(by_email) == {"given"}


@pytest.mark.nightly
@pytest.mark.parametrize("when", ["before sending", "before delivery"])
def test_number_shared_since_the_draft_gets_nothing_if_one_is_held_out(texting, platform, when):
    desk, _ = texting
    campaign_id = approved(desk, message_channel="sms")
    arms = dict(world.rows(desk.database, select(Assignment.customer_id, Assignment.arm)))
    treated = sorted(customer for customer, arm in arms.items() if arm == "treatment")
    held_out = next(customer for customer, arm in arms.items() if arm == "control")
    sharing = [held_out, treated[0], treated[1]]
    if when == "before sending":
        _share_number(desk, sharing)
    send_now(desk, campaign_id)
    if when == "before delivery":
        _share_number(desk, sharing)
    done(desk, CampaignDeliver(campaign_id=campaign_id), LEAD)
    assert {one["customer_id"] for one in platform.told} == {*treated[2:]}
    if when == "before sending":
        thread = messages(desk, f"campaign:{campaign_id}:same_number:1")
        assert "2 customers whose phone number another customer of the campaign has" in thread


def test_email_consent_never_allows_whatsapp(texting):
    desk, _ = texting
    policy = desk.settings.policy
    policy.write_text(policy.read_text() + "\n")
    text = policy.read_text().replace("[campaign]", '[campaign]\nconsent = "unless_refused"')
    policy.write_text(text)
    job = run(desk, CampaignDraft(tier="low", message_channel="whatsapp"), ANALYST)
    assert "whatsapp_consent is missing for" in job.error
    assert "The consent to e-mails does not count" in job.error


def test_consent_withdrawn_after_the_draft_gets_nothing(texting, platform):
    desk, _ = texting
    campaign_id = approved(desk, message_channel="sms")
    send_now(desk, campaign_id)
    people = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", people.assign(sms_consent=None))
    done(desk, CampaignDeliver(campaign_id=campaign_id), LEAD)
    assert platform.told == []
    rows = world.rows(desk.database, select(Send.state, Send.error_code))
    assert set(rows) == {("cancelled", "no_consent")}


def test_sms_without_a_platform_is_refused_before_the_draft(desk):
    job = run(desk, CampaignDraft(tier="low", message_channel="sms"), ANALYST)
    assert "set RETENTION_SMS_WEBHOOK_URL" in job.error


def test_draft_changes_to_sms_and_keeps_its_other_edits(texting):
    desk, _ = texting
    campaign_id = drafted(desk)
    before = campaign_of(desk, campaign_id)
    assert before.body["message_channel"] == "email"
    changes = decisions.Changes(name="Spring", expires_days=9)
    edited = change(desk.database, decisions.edit, Step(campaign_id, ANALYST, 1), changes)
    request = channel_request(desk.settings, edited, "sms")
    assert (request.version, request.tier) == (2, "low")
    assert run(desk, request, ANALYST).error is None
    after = campaign_of(desk, campaign_id)
    assert (after.version, after.state, after.name) == (3, "draft", "Spring")
    assert after.body["message_channel"] == "sms"
    assert after.body["expires_days"] == 9
    assert after.body["audience"] < before.body["audience"]
    assert after.body["copy_text"] != before.body["copy_text"]
    assert after.body["contact_cost"] == 0.06
    thread = messages(desk, f"campaign:{campaign_id}:edited:3")
    assert "SMS" in thread
    assert "SMS: 10% coupon" in messages(desk, after.post_key)


def test_channel_that_nobody_agreed_to_leaves_the_draft_as_it_is(texting):
    desk, _ = texting
    campaign_id = drafted(desk)
    request = channel_request(desk.settings, campaign_of(desk, campaign_id), "whatsapp")
    job = run(desk, request, ANALYST)
    assert "whatsapp_consent is missing" in job.error
    assert campaign_of(desk, campaign_id).version == 1


def test_draft_of_an_earlier_version_is_drafted_anew_by_hand(texting):
    desk, _ = texting
    campaign = campaign_of(desk, drafted(desk))
    campaign.body = {**campaign.body, "drafted_for": None}
    with pytest.raises(BadInput, match="campaign draft --channel sms"):
        channel_request(desk.settings, campaign, "sms")


@pytest.mark.nightly
def test_preview_shows_the_text_its_length_and_no_number_in_a_channel(texting):
    desk, _ = texting
    campaign_id = drafted(desk, message_channel="sms")
    job = done(desk, CampaignPreview(campaign_id=campaign_id, picture=True), ANALYST)
    copy = job.result["copies"][0]
    assert (copy["kind"], copy["to"], copy["parts"]) == ("sms", "…", 1)
    message = messages(desk, f"campaign:{campaign_id}:preview:1")
    assert f"{len(copy['text'])} characters, 1 SMS" in message
    assert "Reply STOP to end." in message
    assert "07400" not in message
    private = run(desk, CampaignPreview(campaign_id=campaign_id), ANALYST, ANALYST).result
    numbers = [copy["to"] for copy in private["copies"]]
    assert all(len(number) == 3 and number.startswith("…") for number in numbers)
    run(desk, CampaignPreview(campaign_id=campaign_id), ANALYST, "C0CRM", key="in the channel")
    stored = str(
        [vars(row) for table in (Outbox, Job) for row in scalars(desk.database, select(table))]
    )
    assert "7400" not in stored
    printed = templating.text("terminal/campaign_preview.txt.j2", result=private, zone="UTC")
    assert "SMS to" in printed
    assert "E-mail" not in printed


@pytest.mark.nightly
def test_refused_number_is_left_out_of_sms_only(texting):
    desk, _ = texting
    _sent(desk)
    customer = one(desk.database, select(Send.customer_id).limit(1))
    since, at = clock.now() - timedelta(days=1), clock.now() + timedelta(hours=1)
    with desk.database.transaction() as session:
        by_email = bounces.Bounce(at, customer)
        assert bounces.mark_bounced(session, [by_email])[0] == ["unknown"]
        by_sms = bounces.Bounce(at, customer, channel="sms")
        assert bounces.mark_bounced(session, [by_sms])[0] == ["bounced"]
    with desk.database.reading() as session:
        bounced = bounces.customers_with_bounced_address
        assert bounced(session, since, "sms") == {customer}
        assert bounced(session, since) == set()


@pytest.mark.nightly
def test_file_of_an_sms_campaign_keeps_those_without_consent_to_emails(texting):
    desk, _ = texting
    people = desk.lake.table("customers").execute()
    desk.lake.upsert("customers", people.assign(marketing_consent=False))
    campaign_id = _sent(desk)
    treated = set(scalars(desk.database, select(Send.customer_id)))
    assert treated
    assert rows_of_file(desk, campaign_id) == treated
    assert set(scalars(desk.database, select(Send.state))) == {"sent"}
