"""Test a campaign by e-mail, through the tick and the real tasks."""

import json
from datetime import timedelta

import pandas as pd
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, update

from bot.terminal import run as typed
from retention import clock
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.campaigns.planning import audience
from retention.db.tables import Assignment, Campaign, Coupon, File, Job, Outbox, Send, Suppression
from retention.errors import BadInput
from retention.outreach import contacts, send_summary, sends
from retention.outreach.consent import consent_states
from retention.risk.policy import load_policy
from tests.retention.outreach.mail import Inbox, Mailserver
from tests.retention.outreach.platform import KEY, Platform
from tests.workers.campaigns.steps import (
    CHANNEL,
    LEAD,
    approved,
    done,
    live,
    messages,
    prepared_campaign,
    run,
    with_settings,
)
from tests.world import change, read, scalar, scalars
from workers.campaigns.requests import CampaignMisuse, CampaignPreview, CampaignSend
from workers.schedule import tick
from workers.tasks.campaigns import campaign_deliver
from workers.tasks.runner import run_job


@pytest.fixture
def mail(desk):
    """The shop of this test, with a mail server."""
    inbox = Inbox(on_rcpt=lambda to: "550 unknown" if to.startswith("c3@") else None)
    server = Mailserver(inbox)
    server.start()
    url = f"smtp://127.0.0.1:{server.port}/?from=offers@shop.example"
    public_url = "https://crm.shop.example"
    yield with_settings(desk, smtp_url=SecretStr(url), public_url=public_url, send_rate=1000), inbox
    server.stop()


def _tick(desk) -> list[Job]:
    """What the tick submits, run."""
    ran = tick.tick(desk.database)
    for job_id in ran:
        run_job(desk.database, job_id, "test")
    with desk.database.reading() as session:
        return [session.get_one(Job, job_id) for job_id in ran]


def _delivered(desk) -> list[Job]:
    """The jobs of a tick that sent e-mails."""
    return [job for job in _tick(desk) if job.kind == "campaign_deliver"]


def _without_server(shop):
    away = SecretStr("smtp://127.0.0.1:1/?from=offers@shop.example")
    return with_settings(shop, smtp_url=away)


@pytest.mark.nightly
def test_erasure_during_sending_stops_no_other_email(mail, monkeypatch):
    """PostgreSQL: the first query saw the queued e-mail, the second no offer."""
    shop, inbox = mail
    live(shop)
    queued = contacts.queued_customers
    monkeypatch.setattr(
        contacts, "queued_customers", lambda *of: ["erased-meanwhile", *queued(*of)]
    )
    (job,) = _delivered(shop)
    assert (job.error, job.state) == (None, "done")
    assert inbox.addresses


def test_emails_keep_the_time_at_which_they_were_due(mail):
    """The demo's clock moves on while its e-mails are sent."""
    shop, _ = mail
    live(shop)
    due = clock.now()
    submitted = tick.tick(shop.database)
    clock.configure(fixed=due + timedelta(days=7))
    for job_id in submitted:
        run_job(shop.database, job_id, "test")
    sent_at = scalars(shop.database, select(Send.sent_at).where(Send.state == "sent"))
    assert sent_at
    assert max(sent_at) - due < timedelta(hours=1)


@pytest.mark.nightly
def test_email_of_a_killed_process_is_sent_by_the_next(desk):
    """It failed for good, because the next run had not read its customer's address."""
    with Platform() as platform:
        shop = with_settings(
            desk,
            webhook_url=SecretStr(platform.url),
            webhook_key=SecretStr(KEY.decode()),
            public_url="https://crm.shop.example",
        )
        campaign_id = live(shop)
        with shop.database.transaction() as session:
            dead = sends.claim(session, campaign_id, "dead", clock.now())
            session.execute(
                update(Send)
                .where(Send.id == dead.id)
                .values(lease_until=clock.wall() - timedelta(seconds=1))
            )
        (job,) = _delivered(shop)
        with shop.database.transaction() as session:
            session.execute(update(Send).values(retry_at=None))
            session.get_one(Job, job.id).idem_key = "a minute ago"
        _tick(shop)
    assert set(scalars(shop.database, select(Send.state))) == {"sent"}
    assert platform.copies[dead.customer_id] == 1


@pytest.mark.nightly
@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param("mail server", marks=pytest.mark.nightly),
        pytest.param("setting", marks=pytest.mark.nightly),
        "bug",
    ],
)
def test_failing_sends_back_off(mail, monkeypatch, breaks):
    """Each minute of its four weeks a job was made for it."""
    shop, inbox = mail
    live(shop)
    began, wall = clock.now(), clock.wall()

    def tried(minutes: float) -> bool:
        clock.configure(fixed=began + timedelta(minutes=minutes))
        monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=minutes))
        with monkeypatch.context() as broken:
            if breaks == "bug":
                broken.setattr(campaign_deliver, "find_contacts", lambda *_: 1 / 0)
            faults = {"mail server": _without_server(shop), "bug": shop}
            faults["setting"] = with_settings(shop, public_url="")
            return bool(_delivered(faults[breaks]))

    assert [
        minutes for minutes in (0, 1, 2, 60, 61, 65, 67, 300, 301, 314, 316) if tried(minutes)
    ] == [0, 1, 2, 60, 67, 300, 316]
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=332))
    _tick(shop)  # mended
    assert inbox.addresses


@pytest.mark.nightly
def test_time_machine_does_not_lengthen_back_off(mail, monkeypatch):
    """After one refusal and a jump of two weeks the next try came 15 minutes later."""
    shop, inbox = mail
    live(shop)
    wall = clock.wall()
    clock.configure(fixed=clock.now() + timedelta(days=14))
    _tick(_without_server(shop))
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=2))
    _tick(shop)  # mended
    assert inbox.addresses


@pytest.mark.nightly
def test_released_emails_start_with_short_intervals(mail, monkeypatch):
    """Where nothing was to be sent meanwhile, the server has not been away since the last copy."""
    shop, inbox = mail
    campaign_id, wall = live(shop), clock.wall()
    _tick(shop)
    clock.configure(fixed=clock.now() + timedelta(days=10))
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(days=10))
    with shop.database.transaction() as session:
        session.execute(update(Send).where(Send.state == "sent").values(state="held"))
        assert sends.release_held(session, campaign_id, again=True)
    _tick(_without_server(shop))
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(days=10, minutes=2))
    _tick(shop)  # mended
    assert set(inbox.addresses.values()) == {2}


def test_emails_go_to_treated_customers_with_consent(mail):
    shop, inbox = mail
    campaign_id = approved(shop)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    request = CampaignSend(campaign_id=campaign_id, version=1)

    private = with_settings(shop, public_url="")
    # Nobody could unsubscribe: nothing is begun, no code reserved
    job = run(private, request, LEAD, key="early")
    assert "RETENTION_PUBLIC_URL" in job.error
    assert not scalars(shop.database, select(Coupon))

    assert run(shop, request, LEAD).error is None
    # A setting lost since: said, once
    (job,) = _delivered(private)
    assert "RETENTION_PUBLIC_URL" in job.result["stopped"]
    assert "RETENTION_PUBLIC_URL" in messages(shop, f"campaign:{campaign_id}:delivered:1")
    with shop.database.transaction() as session:
        assert set(session.scalars(select(Send.state))) == {"queued"}
        session.get_one(Job, job.id).idem_key = "a minute ago"
    policy = shop.settings.home / "policy.toml"
    right = policy.read_text()
    policy.write_text(right.replace("budget = 5000", "budget = -5"))
    # And so is a file that was broken since
    (job,) = _delivered(shop)
    policy.write_text(right)
    assert job.error is None
    assert "campaign.budget" in messages(shop, f"campaign:{campaign_id}:delivered:1")
    with shop.database.transaction() as session:
        session.get_one(Job, job.id).idem_key = "half a minute ago"
    with shop.database.transaction() as session:
        treated = sorted(
            session.scalars(select(Assignment.customer_id).where(Assignment.arm == "treatment"))
        )
        codes = dict(session.execute(select(Coupon.customer_id, Coupon.code)).tuples().all())
        session.add(Suppression(customer_id=treated[0], source="unsubscribe"))
    customers = shop.lake.table("customers").execute().set_index("customer_id")
    refused = treated[1]
    shop.lake.upsert(
        "customers", customers.loc[[refused]].reset_index().assign(marketing_consent=False)
    )
    jobs = _tick(shop)
    assert [(job.kind, job.error) for job in jobs if job.kind == "campaign_deliver"] == [
        ("campaign_deliver", None)
    ]
    emails = customers["email"]
    rows = {send.customer_id: send for send in scalars(shop.database, select(Send))}
    assert set(rows) == set(treated)
    assert rows[treated[0]].state == rows[refused].state == "cancelled"
    expected = {emails[user] for user in treated[2:] if rows[user].state == "sent"}
    assert set(inbox.addresses) == expected
    assert set(inbox.addresses.values()) == {1}
    texts = {
        mail["To"].addresses[0].addr_spec: mail.get_body(("plain",)).get_content()
        for mail in inbox.mails
    }
    assert all(codes[user] in texts[emails[user]] for user in codes if emails[user] in texts)
    text = messages(shop, f"campaign:{campaign_id}:delivered:1")
    assert f"{len(expected)} copies sent" in text
    assert not any(code in messages(shop) for code in codes.values())
    # Nothing is left to do
    assert not _delivered(shop)

    # Masked in the channel, in full by direct message
    job = run(shop, CampaignPreview(campaign_id=campaign_id), LEAD)
    assert job.error is None
    shown = {
        row.channel: str(row.payload)
        for row in scalars(shop.database, select(Outbox))
        if "*Preview of" in str(row.payload)
    }
    first = next(user for user in treated if user in codes)
    assert set(shown) == {CHANNEL, LEAD}
    assert (emails[first] in shown[LEAD], codes[first] in shown[LEAD]) == (True, True)
    assert not any(secret in shown[CHANNEL] for secret in [*emails, *codes.values(), *treated])
    for channel, is_sensitive in ((CHANNEL, False), (LEAD, True)):  # the picture of the first
        request = CampaignPreview(campaign_id=campaign_id, picture=True)
        job = done(shop, request, LEAD, channel=channel, key=f"picture {channel}")
        with shop.database.reading() as session:
            newest = session.scalars(select(Outbox).order_by(Outbox.id.desc())).first()
            image = session.get_one(File, newest.payload["images"]["email"])
        assert image.content.startswith(b"\x89PNG")
        assert (image.sensitive, newest.channel) == (is_sensitive, channel)
        assert ("are hidden here" in str(newest.payload)) is not is_sensitive

    change(shop.database, redeem, [CodeUse(codes[first], clock.now(), "http", treated[-1], "o77")])
    _tick(shop)
    _tick(shop)
    values = [line for line in messages(shop).splitlines() if "not used as they were meant" in line]
    assert len(values) == 1
    assert "1 used by another customer" in values[0]
    assert codes[first] not in values[0]
    job = run(shop, CampaignMisuse(campaign_id=campaign_id), LEAD, channel=LEAD)
    assert [use["used_by"] for use in job.result["uses"]] == [treated[-1]]
    assert codes[first] in messages(shop, f"job:{job.id}")

    with shop.database.reading() as session:  # and no further draft chooses them
        may = consent_states(shop.lake, session, pd.Series(treated))
    assert [
        customer_id for customer_id, text in zip(treated, may, strict=True) if text == "given"
    ] == treated[2:]


@pytest.mark.nightly
def test_imported_bounces_are_reported_and_remembered(mail, monkeypatch, capsys):
    """Later bounces were lost, and the next campaign sent to the same addresses."""
    shop, inbox = mail
    campaign_id = live(shop)
    _tick(shop)
    back, further = sorted(inbox.addresses)[:2]
    at_once = read(shop.database, send_summary.counts, campaign_id).get("bounced", 0)
    file, now = shop.settings.home / "bounces.csv", clock.now()
    at = now + timedelta(hours=6)
    file.write_text(f"email,occurred_at\n{back},{at:%Y-%m-%d %H:%M}\nx@x.example,{at:%Y-%m-%d}\n")
    monkeypatch.setenv("RETENTION_HOME", str(shop.settings.home))
    for text in ("1 copy bounced: they cost no contact", "1 copy known to have bounced already"):
        assert typed(["import", "bounces", str(file)]) == 0
        assert text in capsys.readouterr().out
    assert typed(["import", "bounces", "--suggest-map", str(file)]) == 2
    assert "they need occurred_at, and email or customer_id" in capsys.readouterr().err
    shown = messages(shop, f"campaign:{campaign_id}:delivered:1")
    assert f"{len(inbox.addresses) - 1} copies sent, {at_once + 1} bounced" in shown
    people = shop.lake.table("customers").execute().set_index("email")["customer_id"]
    policy = load_policy(shop.settings)
    with shop.database.reading() as session:
        out = audience.bounced_customers(shop.lake, session, policy, now)
    assert people[back] in out
    assert people[further] not in out


@pytest.mark.nightly
def test_emails_have_pictures_prices_and_each_customers_language(mail):
    shop, inbox = mail
    brand = 'website = "https://tea.example"\naddress = "1 High Street, London"'
    (shop.settings.home / "brand.toml").write_text(brand, encoding="utf-8")
    customers = shop.lake.table("customers").execute()
    locales = customers.assign(locale=["de-DE", "fr-FR", ""] * (len(customers) // 3))
    shop.lake.upsert("customers", locales)
    items = shop.lake.table("items").execute()
    picture = json.dumps({"image": "https://tea.example/tea.png", "url": "https://tea.example/t"})
    shop.lake.upsert("items", items.assign(price=8.5, attributes=picture))
    live(shop)
    _tick(shop)
    locale_of = dict(zip(locales["email"], locales["locale"], strict=True))
    seen = set()
    for email in inbox.mails:
        locale = locale_of[email["To"].addresses[0].addr_spec]
        html = email.get_body(("html",)).get_content()
        word = {"de-DE": "Abbestellen", "fr-FR": "Se désinscrire", "": "Unsubscribe"}[locale]
        assert word in html
        assert f'lang="{locale or "en"}"' in html
        assert 'src="https://tea.example/tea.png"' in html
        assert "https://tea.example/t?utm_source=retention&amp;utm_medium=email" in html
        assert {"de-DE": "8,50", "fr-FR": "8,50", "": "8.50"}[locale] in html
        assert "1 High Street, London" in email.get_body(("plain",)).get_content()
        seen.add(locale)
    assert seen == {"de-DE", "fr-FR", ""}


@pytest.mark.nightly
def test_no_email_is_sent_in_quiet_hours(mail):
    shop, inbox = mail
    policy = shop.settings.home / "policy.toml"
    policy.write_text(policy.read_text().replace('quiet_hours = ""', 'quiet_hours = "21:00-08:00"'))
    campaign_id = approved(shop)
    customers = shop.lake.table("customers").execute()
    zones = customers.assign(timezone=["Asia/Kathmandu", "Mars/Base", ""] * (len(customers) // 3))
    shop.lake.upsert("customers", zones)
    zone_of = dict(zip(zones["email"], zones["timezone"], strict=True))
    clock.configure(fixed=clock.now() + timedelta(hours=5))  # 05:00 UTC, 10:45 in Kathmandu
    assert run(shop, CampaignSend(campaign_id=campaign_id, version=1), LEAD).error is None
    _tick(shop)
    assert {zone_of[to] for to in inbox.addresses} == {"Asia/Kathmandu"}
    assert change(shop.database, tick.next_due, clock.now()) == clock.now() + timedelta(hours=3)
    # 08:00 UTC, for the time machine within a minute
    clock.configure(fixed=clock.now() + timedelta(hours=3))
    _tick(shop)
    assert {zone_of[to] for to in inbox.addresses} == {"Asia/Kathmandu", "Mars/Base", ""}
    assert "queued" not in set(scalars(shop.database, select(Send.state)))


@pytest.mark.nightly
@pytest.mark.parametrize("gone", ["the channel", "the policy"])
def test_queue_of_an_ended_campaign_is_dropped_without_settings(desk, gone):
    """A job a minute refused for ever, for a mail server whose setting was gone."""
    live(desk)
    with desk.database.transaction() as session:
        session.execute(update(Send).values(channel="email"))
        session.execute(update(Campaign).values(state="cancelled"))
    if gone == "the policy":
        (desk.settings.home / "policy.toml").write_text("[campaign]\nbudget = -5\n")
    (job,) = _delivered(desk)
    assert (job.error, job.result["stopped"]) == (None, "")
    with desk.database.transaction() as session:
        assert set(session.scalars(select(Send.state))) == {"cancelled"}
        session.get_one(Job, job.id).idem_key = "a minute ago"
    assert not _delivered(desk)


@pytest.mark.campaign("approved")
def test_test_email_goes_to_the_person_and_is_no_delivery(mail):
    shop, inbox = mail
    (shop.settings.home / "brand.toml").write_text('name = "Leaf & Kettle"', encoding="utf-8")
    campaign_id = prepared_campaign(shop)
    codes = set(scalars(shop.database, select(Coupon.code)))
    ask = {"campaign_id": campaign_id, "picture": True, "to_me": True, "person": "Ana"}
    job = done(shop, CampaignPreview(**ask, address="ana@shop.example"), LEAD, channel=LEAD)
    (sent,) = inbox.mails
    text = sent.get_body(("plain",)).get_content()
    assert sent["To"].addresses[0].addr_spec == "ana@shop.example"
    assert sent["Subject"].startswith("Test: ")
    assert "XXXX-XXXX-XXXX" in text
    assert "Ana" in text
    assert not any(code in str(sent) for code in codes)
    assert "/unsubscribe/" not in str(sent)
    assert not scalar(shop.database, select(func.count()).select_from(Send))
    assert "Leaf &amp; Kettle" in sent.get_body(("html",)).get_content()
    shown = messages(shop, f"job:{job.id}")
    assert "ana@shop.example was sent" in shown
    assert "no postal address" in shown


@pytest.mark.campaign("approved")
def test_missing_address_or_server_is_refused_at_once(desk):
    campaign_id = prepared_campaign(desk)
    for address, missing in (("", "users:read.email"), ("ana@shop.example", "RETENTION_SMTP_URL")):
        request = CampaignPreview(
            campaign_id=campaign_id, picture=True, to_me=True, address=address
        )
        with pytest.raises(BadInput, match=missing):
            run(desk, request, LEAD, channel=LEAD)
