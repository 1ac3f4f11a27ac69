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
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.message.parts import PartChanges
from retention.campaigns.planning import audience
from retention.db.tables import Assignment, Campaign, Coupon, File, Job, Outbox, Send, Suppression
from retention.errors import BadInput
from retention.outreach import contacts, send_summary, sends
from retention.outreach.consent import consent_states
from retention.risk.policy import load_policy
from tests.standins.signed_webhook import KEY, Platform
from tests.standins.smtp import Inbox, Mailserver
from tests.workers.campaigns.desk import AFTER_CLEARANCE, ANALYST, CHANNEL, LEAD
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignMisuse, CampaignPreview, CampaignSend
from workers.schedule import tick
from workers.tasks.campaigns import campaign_deliver


@pytest.fixture
def mail(desk):
    """The shop of this test, with a mail server."""
    inbox = Inbox(on_rcpt=lambda to: "550 unknown" if to.startswith("c3@") else None)
    server = Mailserver(inbox)
    server.start()
    url = f"smtp://127.0.0.1:{server.port}/?from=offers@shop.example"
    public_url = "https://crm.shop.example"
    yield desk.with_settings(smtp_url=SecretStr(url), public_url=public_url, send_rate=1000), inbox
    server.stop()


def _delivered(desk) -> list[Job]:
    """The jobs of a tick that sent e-mails."""
    return [job for job in desk.tick() if job.kind == "campaign_deliver"]


def _another_minute(desk, job: Job) -> None:
    """The next tick is not in the minute of this job."""
    desk.execute(update(Job).where(Job.id == job.id).values(idem_key=f"before {job.id}"))


def _without_server(shop):
    return shop.with_settings(smtp_url=SecretStr("smtp://127.0.0.1:1/?from=offers@shop.example"))


@pytest.mark.nightly
def test_erasure_during_sending_stops_no_other_email(mail, monkeypatch):
    """PostgreSQL: the first query saw the queued e-mail, the second no offer."""
    shop, inbox = mail
    shop.live()
    queued = contacts.queued_customers
    monkeypatch.setattr(
        contacts, "queued_customers", lambda *of: ["erased-meanwhile", *queued(*of)]
    )
    (job,) = _delivered(shop)
    assert (job.error, job.state) == (None, "done")
    assert inbox.addresses


@pytest.mark.nightly
def test_emails_keep_the_time_at_which_they_were_due(mail):
    """The demo's clock moves on while its e-mails are sent."""
    shop, _ = mail
    shop.live()
    due = clock.now()
    submitted = tick.tick(shop.database)
    shop.wait(days=7)
    shop.run_jobs(submitted)
    sent_at = shop.scalars(select(Send.sent_at).where(Send.state == "sent"))
    assert sent_at
    assert max(sent_at) - due < timedelta(hours=1)


@pytest.mark.nightly
def test_email_of_a_killed_process_is_sent_by_the_next(desk):
    """It failed for good, because the next run had not read its customer's address."""
    with Platform() as platform:
        shop = desk.with_settings(
            webhook_url=SecretStr(platform.url),
            webhook_key=SecretStr(KEY.decode()),
            public_url="https://crm.shop.example",
        )
        dead = shop.change(sends.claim, shop.live(), "dead", clock.now())
        over = clock.wall() - timedelta(seconds=1)
        shop.execute(update(Send).where(Send.id == dead.id).values(lease_until=over))
        (job,) = _delivered(shop)
        shop.execute(update(Send).values(retry_at=None))
        _another_minute(shop, job)
        shop.tick()
    assert set(shop.scalars(select(Send.state))) == {"sent"}
    assert platform.copies[dead.customer_id] == 1


@pytest.mark.nightly
@pytest.mark.parametrize("breaks", ["mail server", "setting", "bug"])
def test_failing_sends_back_off(mail, monkeypatch, breaks):
    """Each minute of its four weeks a job was made for it."""
    shop, inbox = mail
    shop.live()
    began, wall = clock.now(), clock.wall()

    def tried(minutes: float) -> bool:
        clock.configure(fixed=began + timedelta(minutes=minutes))
        monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=minutes))
        with monkeypatch.context() as broken:
            if breaks == "bug":
                broken.setattr(campaign_deliver, "find_contacts", lambda *_: 1 / 0)
            faults = {"mail server": _without_server(shop), "bug": shop}
            faults["setting"] = shop.with_settings(public_url="")
            return bool(_delivered(faults[breaks]))

    assert [
        minutes for minutes in (0, 1, 2, 60, 61, 65, 67, 300, 301, 314, 316) if tried(minutes)
    ] == [0, 1, 2, 60, 67, 300, 316]
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=332))
    shop.tick()  # mended
    assert inbox.addresses


@pytest.mark.nightly
def test_time_machine_does_not_lengthen_back_off(mail, monkeypatch):
    """After one refusal and a jump of two weeks the next try came 15 minutes later."""
    shop, inbox = mail
    shop.live()
    wall = clock.wall()
    shop.wait(days=14)
    _without_server(shop).tick()
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=2))
    shop.tick()  # mended
    assert inbox.addresses


@pytest.mark.nightly
def test_released_emails_start_with_short_intervals(mail, monkeypatch):
    """Where nothing was to be sent meanwhile, the server has not been away since the last copy."""
    shop, inbox = mail
    campaign_id, wall = shop.live(), clock.wall()
    shop.tick()
    shop.wait(days=10)
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(days=10))
    shop.execute(update(Send).where(Send.state == "sent").values(state="held"))
    assert shop.change(sends.release_held, campaign_id, again=True)
    _without_server(shop).tick()
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(days=10, minutes=2))
    shop.tick()  # mended
    assert set(inbox.addresses.values()) == {2}


@pytest.mark.campaign("approved")
def test_campaign_is_not_begun_or_delivered_with_broken_settings(mail):
    shop, _ = mail
    shop.wait(hours=5)
    private = shop.with_settings(public_url="")
    # Nobody could unsubscribe: nothing is begun, no code reserved
    assert "RETENTION_PUBLIC_URL" in private.run(shop.sending()).error
    assert not shop.scalars(select(Coupon))

    shop.done(shop.sending())
    # A setting lost since: said, once
    (job,) = _delivered(private)
    assert "RETENTION_PUBLIC_URL" in job.result["stopped"]
    assert "RETENTION_PUBLIC_URL" in shop.thread("delivered")
    assert set(shop.scalars(select(Send.state))) == {"queued"}
    _another_minute(shop, job)
    shop.settings.policy.write_text("[campaign]\nbudget = -5\n")
    # And so is a file that was broken since
    (job,) = _delivered(shop)
    assert job.error is None
    assert "campaign.budget" in shop.thread("delivered")


@pytest.fixture
def delivered(mail):
    """The shop, its inbox and the treated; the first unsubscribed, the second withdrew."""
    shop, inbox = mail
    shop.live()
    treated = shop.arms()["treatment"]
    shop.change(lambda session: session.add(Suppression(customer_id=treated[0], source="x")))
    customers = shop.table("customers")
    withdrawn = customers[customers.customer_id == treated[1]].assign(marketing_consent=False)
    shop.lake.upsert("customers", withdrawn)
    (job,) = _delivered(shop)
    assert job.error is None
    return shop, inbox, treated


def test_emails_go_to_treated_customers_with_consent(delivered):
    shop, inbox, treated = delivered
    codes = dict(shop.rows(select(Coupon.customer_id, Coupon.code)))
    emails = shop.table("customers").set_index("customer_id")["email"]
    states = dict(shop.rows(select(Send.customer_id, Send.state)))
    assert states.keys() == {*treated}
    assert states[treated[0]] == states[treated[1]] == "cancelled"
    expected = {emails[user] for user in treated[2:] if states[user] == "sent"}
    assert inbox.addresses == dict.fromkeys(expected, 1)
    texts = {
        mail["To"].addresses[0].addr_spec: mail.get_body(("plain",)).get_content()
        for mail in inbox.mails
    }
    assert all(codes[user] in texts[emails[user]] for user in codes if emails[user] in texts)
    assert f"{len(expected)} copies sent" in shop.thread("delivered")
    assert not any(code in shop.messages() for code in codes.values())
    # Nothing is left to do
    assert not _delivered(shop)
    with shop.database.reading() as session:  # and no further draft chooses them
        may = consent_states(shop.lake, session, pd.Series(treated))
    willing = [user for user, state in zip(treated, may, strict=True) if state == "given"]
    assert willing == treated[2:]


@pytest.mark.campaign("live")
def test_preview_is_masked_in_the_channel_and_complete_for_the_person(desk):
    codes = dict(desk.rows(select(Coupon.customer_id, Coupon.code)))
    emails = desk.table("customers").set_index("customer_id")["email"]
    treated = desk.arms()["treatment"]
    first = next(user for user in treated if user in codes)
    desk.done(CampaignPreview(campaign_id=desk.campaign_id))
    shown = {
        row.channel: str(row.payload)
        for row in desk.scalars(select(Outbox))
        if "*Preview of" in str(row.payload)
    }
    assert set(shown) == {CHANNEL, LEAD}
    assert (emails[first] in shown[LEAD], codes[first] in shown[LEAD]) == (True, True)
    assert not any(secret in shown[CHANNEL] for secret in [*emails, *codes.values(), *treated])
    for channel, is_sensitive in ((CHANNEL, False), (LEAD, True)):  # the picture of the first
        desk.done(CampaignPreview(campaign_id=desk.campaign_id, picture=True), channel=channel)
        newest = desk.scalars(select(Outbox).order_by(Outbox.id.desc()))[0]
        image = desk.one(select(File).where(File.id == newest.payload["images"]["email"]))
        assert image.content.startswith(b"\x89PNG")
        assert (image.sensitive, newest.channel) == (is_sensitive, channel)
        assert ("are hidden here" in str(newest.payload)) is not is_sensitive


def test_email_is_sent_with_its_subject_sender_and_products(mail):
    shop, inbox = mail
    parts = {"subject": "Tea for {name}", "sender_name": "Ann", "blocks": "text,products:bought:2"}
    shop.drafted()
    changes = Changes(copy_text="{items} {code}", messages={"": PartChanges(**parts)})
    shop.decide(decisions.edit, ANALYST, changes)
    shop.decide(decisions.submit, ANALYST)
    shop.decide(decisions.approve, LEAD)
    clock.configure(fixed=clock.now() + AFTER_CLEARANCE)
    shop.done(CampaignSend(campaign_id=shop.campaign_id, version=2))
    assert _delivered(shop)[0].error is None
    bought = shop.table("events").query("event_type == 'purchase'")
    titles = shop.table("items").set_index("item_id")["title"]
    people = shop.table("customers").set_index("email")
    for sent in inbox.mails[:5]:
        customer = people.loc[sent["To"].addresses[0].addr_spec]
        assert sent["Subject"].startswith("Tea for ")
        assert sent["From"].addresses[0].display_name == "Ann"
        own = titles[bought.loc[bought.customer_id == customer.customer_id, "item_id"]]
        text = sent.get_body(("plain",)).get_content()
        assert sum(title in text for title in own.unique()) == 2


@pytest.mark.nightly
@pytest.mark.campaign("draft")
def test_preview_shows_each_group_or_one_customer(desk):
    preview = CampaignPreview(campaign_id=desk.campaign_id)
    rules = desk.scalars(select(Assignment.offer["rule"].as_string()).distinct())
    copies = desk.done(preview, LEAD, LEAD).result["copies"]
    assert {copy["group"] for copy in copies[: len(rules)]} == {*rules}
    one = desk.scalars(select(Assignment.customer_id))[7]
    only = preview.model_copy(update={"customer_id": one})
    assert [copy["customer"] for copy in desk.done(only, LEAD, LEAD).result["copies"]] == [one]
    assert one not in str(desk.done(only).result)
    blocks = {"": PartChanges(blocks="text,code,products:category=None:2")}
    desk.decide(decisions.edit, ANALYST, Changes(messages=blocks))
    assert desk.done(only).result["without_products"] == 1
    window = only.model_copy(update={"picture": True, "view_id": "V1"})
    assert desk.done(window, LEAD, LEAD).result["without_products"] == 1
    nobody = preview.model_copy(update={"customer_id": "nobody"})
    assert desk.run(nobody).state == "failed"


@pytest.mark.campaign("draft")
def test_terminal_writes_the_message_into_a_file_and_takes_it_back(
    desk, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("RETENTION_HOME", str(desk.settings.home))
    campaign_id, file = desk.campaign_id, tmp_path / "message.toml"
    assert typed(["campaign", "message", campaign_id, "--out", str(file)]) == 0
    written = file.read_text(encoding="utf-8")
    assert typed(["campaign", "message", campaign_id]) == 0
    assert written.strip() in capsys.readouterr().out
    file.write_text(written.replace('subject = ""', 'subject = "Tea"', 1), encoding="utf-8")
    assert typed(["campaign", "message", campaign_id, "--file", str(file)]) == 0
    assert desk.body().message.subject == "Tea"
    file.write_text('subject = "{secret}"', encoding="utf-8")
    assert typed(["campaign", "message", campaign_id, "--file", str(file)]) == 2


@pytest.mark.campaign("live")
def test_misuse_of_a_code_is_reported_once(desk):
    code, owner = desk.rows(select(Coupon.code, Coupon.customer_id).order_by(Coupon.code))[0]
    other = next(user for user in desk.arms()["treatment"] if user != owner)
    desk.change(redeem, [CodeUse(code, clock.now(), "http", other, "o77")])
    desk.tick()
    desk.tick()
    (told,) = [line for line in desk.messages().splitlines() if "not used as they were" in line]
    assert "1 used by another customer" in told
    assert code not in told
    job = desk.run(CampaignMisuse(campaign_id=desk.campaign_id), channel=LEAD)
    assert [use["used_by"] for use in job.result["uses"]] == [other]
    assert code in desk.messages(f"job:{job.id}")


@pytest.mark.nightly
def test_imported_bounces_are_reported_and_remembered(mail, monkeypatch, capsys):
    """Later bounces were lost, and the next campaign sent to the same addresses."""
    shop, inbox = mail
    shop.live()
    shop.tick()
    back, further = sorted(inbox.addresses)[:2]
    at_once = shop.read(send_summary.counts, shop.campaign_id).get("bounced", 0)
    file, now = shop.settings.home / "bounces.csv", clock.now()
    at = now + timedelta(hours=6)
    file.write_text(f"email,occurred_at\n{back},{at:%Y-%m-%d %H:%M}\nx@x.example,{at:%Y-%m-%d}\n")
    monkeypatch.setenv("RETENTION_HOME", str(shop.settings.home))
    for text in ("1 copy bounced: they cost no contact", "1 copy known to have bounced already"):
        assert typed(["import", "bounces", str(file)]) == 0
        assert text in capsys.readouterr().out
    assert typed(["import", "bounces", "--suggest-map", str(file)]) == 2
    assert "they need occurred_at, and email or customer_id" in capsys.readouterr().err
    copies = f"{len(inbox.addresses) - 1} copies sent, {at_once + 1} bounced"
    assert copies in shop.thread("delivered")
    people = shop.table("customers").set_index("email")["customer_id"]
    with shop.database.reading() as session:
        out = audience.bounced_customers(shop.lake, session, load_policy(shop.settings), now)
    assert people[back] in out
    assert people[further] not in out


@pytest.mark.nightly
def test_emails_have_pictures_prices_and_each_customers_language(mail):
    shop, inbox = mail
    brand = 'website = "https://tea.example"\naddress = "1 High Street, London"'
    (shop.settings.home / "brand.toml").write_text(brand, encoding="utf-8")
    customers = shop.table("customers")
    locales = customers.assign(locale=["de-DE", "fr-FR", ""] * (len(customers) // 3))
    shop.lake.upsert("customers", locales)
    picture = json.dumps({"image": "https://tea.example/tea.png", "url": "https://tea.example/t"})
    shop.lake.upsert("items", shop.table("items").assign(price=8.5, attributes=picture))
    shop.live()
    shop.tick()
    locale_of = dict(zip(locales["email"], locales["locale"], strict=True))
    seen = set()
    for email in inbox.mails:
        locale = locale_of[email["To"].addresses[0].addr_spec]
        html = email.get_body(("html",)).get_content()
        word = {"de-DE": "Abbestellen", "fr-FR": "Se désinscrire", "": "Unsubscribe"}[locale]
        for part in (
            word,
            f'lang="{locale or "en"}"',
            'src="https://tea.example/tea.png"',
            "https://tea.example/t?utm_source=retention&amp;utm_medium=email",
            {"de-DE": "8,50", "fr-FR": "8,50", "": "8.50"}[locale],
        ):
            assert part in html
        assert "1 High Street, London" in email.get_body(("plain",)).get_content()
        seen.add(locale)
    assert seen == {"de-DE", "fr-FR", ""}


@pytest.mark.nightly
def test_no_email_is_sent_in_quiet_hours(mail):
    shop, inbox = mail
    policy = shop.settings.policy
    policy.write_text(policy.read_text().replace('quiet_hours = ""', 'quiet_hours = "21:00-08:00"'))
    shop.approved()
    customers = shop.table("customers")
    zones = customers.assign(timezone=["Asia/Kathmandu", "Mars/Base", ""] * (len(customers) // 3))
    shop.lake.upsert("customers", zones)
    zone_of = dict(zip(zones["email"], zones["timezone"], strict=True))
    shop.send_now()  # 05:00 UTC, 10:45 in Kathmandu
    shop.tick()
    assert {zone_of[to] for to in inbox.addresses} == {"Asia/Kathmandu"}
    assert shop.change(tick.next_due, clock.now()) == clock.now() + timedelta(hours=3)
    shop.wait(hours=3)  # 08:00 UTC, for the time machine within a minute
    shop.tick()
    assert {zone_of[to] for to in inbox.addresses} == {"Asia/Kathmandu", "Mars/Base", ""}
    assert "queued" not in set(shop.scalars(select(Send.state)))


@pytest.mark.nightly
@pytest.mark.campaign("live")
@pytest.mark.parametrize("gone", ["the channel", "the policy"])
def test_queue_of_an_ended_campaign_is_dropped_without_settings(desk, gone):
    """A job a minute refused for ever, for a mail server whose setting was gone."""
    desk.execute(update(Send).values(channel="email"))
    desk.execute(update(Campaign).values(state="cancelled"))
    if gone == "the policy":
        desk.settings.policy.write_text("[campaign]\nbudget = -5\n")
    (job,) = _delivered(desk)
    assert (job.error, job.result["stopped"]) == (None, "")
    assert set(desk.scalars(select(Send.state))) == {"cancelled"}
    _another_minute(desk, job)
    assert not _delivered(desk)


@pytest.mark.campaign("approved")
def test_test_email_needs_address_and_server_and_is_no_delivery(mail):
    shop, inbox = mail
    (shop.settings.home / "brand.toml").write_text('name = "Leaf & Kettle"', encoding="utf-8")
    ask = {"campaign_id": shop.campaign_id, "picture": True, "to_me": True, "person": "Ana"}
    for desk, address, missing in (
        (shop, "", "users:read.email"),
        (shop.with_settings(smtp_url=None), "ana@shop.example", "RETENTION_SMTP_URL"),
    ):
        with pytest.raises(BadInput, match=missing):
            desk.run(CampaignPreview(**ask, address=address), channel=LEAD)
    job = shop.done(CampaignPreview(**ask, address="ana@shop.example"), channel=LEAD)
    (sent,) = inbox.mails
    text = sent.get_body(("plain",)).get_content()
    assert sent["To"].addresses[0].addr_spec == "ana@shop.example"
    assert sent["Subject"].startswith("Test: ")
    assert "XXXX-XXXX-XXXX" in text
    assert "Ana" in text
    assert "/unsubscribe/" not in str(sent)
    assert not shop.scalar(select(func.count()).select_from(Send))
    assert "Leaf &amp; Kettle" in sent.get_body(("html",)).get_content()
    shown = shop.messages(f"job:{job.id}")
    assert "ana@shop.example was sent" in shown
    assert "no postal address" in shown
