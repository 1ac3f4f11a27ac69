"""Test opens and clicks from the e-mail to the result, the lake and the customer's card."""

import json
import re
from datetime import timedelta

from sqlalchemy import select

from bot.terminal import run as typed
from retention import clock
from retention.db.tables import Send
from retention.outreach import tracking
from tests.retention.campaigns.samples import write_home
from tests.retention.outreach.test_machines import IPHONE
from tests.workers.campaigns.desk import LEAD
from tests.workers.campaigns.test_outreach import mail
from workers.campaigns.job_requests import CampaignLook
from workers.job_requests import Score, Tidy

__all__ = ["mail"]  # a fixture of another module
PERSON = {"user-agent": IPHONE}


def _sent(mail) -> tuple:
    """Send a campaign to customers of whom every second agreed to tracking."""
    shop, inbox = mail
    write_home(shop.settings, "brand.toml", 'website = "https://tea.example"')
    shop.live()
    people = shop.table("customers")
    consents = people.index.to_series().mod(2).eq(0)
    people = people.astype(object).where(people.notna(), None)
    shop.lake.upsert("customers", people.assign(tracking_consent=consents))
    shop.tick()
    return shop, inbox, set(people.customer_id[consents])


def test_emails_are_tracked_with_consent_only(mail, short_transactions):
    shop, inbox, agreed = _sent(mail)
    sends = {send.customer_id: send for send in shop.scalars(select(Send).filter_by(state="sent"))}
    assert 0 < len(sends.keys() & agreed) < len(sends)
    for message in inbox.mails:
        customer = re.match(r".*<?(c\d+)@", message["To"])[1]
        html = message.get_body(("html",)).get_content()
        parts = ("/c/" in html, "/o/" in html, 'href="https://tea.example' in html)
        is_tracked = customer in agreed
        assert parts == (is_tracked, is_tracked, not is_tracked)


def test_opens_and_clicks_are_shown_wherever_people_look(mail, monkeypatch, capsys):
    shop, _, agreed = _sent(mail)
    sends = shop.scalars(select(Send).filter_by(state="sent").order_by(Send.id))
    tracked = [send for send in sends if send.customer_id in agreed]
    first, second, third = tracked[:3]
    at = clock.now() + timedelta(hours=1)
    shop.change(tracking.record, first.id, 7, PERSON, at)
    shop.change(tracking.record, second.id, 0, PERSON, at)
    shop.change(tracking.record, third.id, 0, {}, at)
    figures = {"delivered": len(sends), "tracked": len(tracked)}
    figures |= {"opened": 2, "clicked": 1, "machine": 1}
    shop.go_on(days=7)
    look = shop.done(CampaignLook(campaign_id=shop.campaign_id), LEAD).result["reach"]
    assert {name: look[name] for name in figures} == figures
    card = shop.done(Score(customer_id=first.customer_id), LEAD).result["reactions"]
    assert card == {"open": at.isoformat(), "click": at.isoformat()}
    for _ in range(2):
        shop.done(Tidy(), "U0ADMIN")
    events = shop.table("events")
    events = events[events.event_type.isin(["email_open", "email_click"])]
    assert dict(zip(events.customer_id, events.event_type, strict=True)) == {
        first.customer_id: "email_click",
        second.customer_id: "email_open",
    }
    result = shop.result_after(days=22)["reach"]
    assert {name: result[name] for name in figures} == figures
    assert result["ordered"] >= look["ordered"]
    monkeypatch.setenv("RETENTION_HOME", str(shop.settings.home))
    assert typed(["campaign", "show", shop.campaign_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["campaign"]["reach"] == figures
