"""Test sending: each e-mail once, refusals, quiet hours and unsubscribes."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from retention import clock
from retention.campaigns.lifecycle import closing, decisions, due
from retention.campaigns.lifecycle.states import Step, find_campaign
from retention.db.tables import Assignment, Job, Send
from retention.errors import BadInput
from retention.outreach import consent, send_summary, sends
from retention.outreach.adapter import Contact, ServerUnavailable, Verdict
from retention.settings import Settings
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import NOW, LiveCampaign
from tests.retention.outreach.test_smtp import a_server
from tests.standins.smtp import Inbox, Mailserver
from tests.world import change, read, scalars


class Scripted:
    """An adapter with scripted verdicts per customer that records its messages."""

    channel, drops_duplicates = "email", False

    def __init__(self, **says: str) -> None:
        self.says, self.given = says, []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def send(self, message) -> Verdict:
        self.given.append(message)
        said = self.says.get(message.customer_id, "sent")
        if said == "away":
            raise ServerUnavailable("The mail server is away.")
        return Verdict(said, message_id="m")


def test_each_treated_customer_gets_one_email_and_the_hold_out_none(database, settings):
    campaign = LiveCampaign(database, settings, 20)
    with a_server() as (adapter, inbox):
        report = campaign.deliver(adapter)
        again = campaign.deliver(adapter)
    treated = scalars(database, select(Assignment.customer_id).filter_by(arm="treatment"))
    assert inbox.addresses == {f"{customer_id}@example.com": 1 for customer_id in treated}
    assert (report.counts, again.counts) == ({"sent": 18}, {})
    coupon = next(mail for mail in inbox.mails if mail["To"] == "K 3 <k3@example.com>")
    html = coupon.get_body(("html",)).get_content()
    assert "Tea &amp; &lt;b&gt;Co&lt;/b&gt;" in html  # what the data says is never markup
    assert 'style="font-family:Menlo' in html  # and styles stand where mail readers look
    token = coupon["List-Unsubscribe"].strip("<>").rpartition("/")[2]
    with database.reading() as session:
        send = session.get_one(Send, consent.read_unsubscribe_token(settings.keys, token))
        assert send.customer_id == "k3"


def test_each_send_stores_its_state_and_only_retryable_sends_are_retried(campaign):
    adapter = Scripted(k2="again", k3="bounced", k4="doubtful", k5="failed")
    people = live_campaigns.contacts_of(10) | {"k6": Contact("", "no address")}
    campaign.deliver(adapter, people)
    states = campaign.by_customer()
    expected = ["queued", "bounced", "held", "failed", "failed", "sent"]
    assert [states[f"k{n}"] for n in range(2, 8)] == expected
    rounds = sends.MAX_ATTEMPTS + 1  # in the first one it is not yet its time
    campaign.deliver(adapter, people, rounds=rounds)
    assert campaign.by_customer()["k2"] == "failed"
    assert len([m for m in adapter.given if m.customer_id == "k2"]) == sends.MAX_ATTEMPTS
    assert len({m.key for m in adapter.given if m.customer_id == "k2"}) == 1
    assert len(adapter.given) == sends.MAX_ATTEMPTS + 7


def test_deferred_emails_are_retried_for_hours():
    """Spam filters may be down for twenty minutes."""
    waits = [sends.back_off(tries) for tries in range(1, sends.MAX_ATTEMPTS)]
    assert waits == sorted(waits)
    assert timedelta(hours=4) < sum(waits, timedelta()) < timedelta(hours=12)


def test_unreachable_server_counts_no_attempt(campaign):
    report = campaign.deliver(Scripted(k1="away"))
    assert report.stopped == "The mail server is away."
    assert campaign.states() == {"queued"}
    campaign.end_waits()
    report = campaign.deliver(Scripted())
    assert report.counts == {"sent": 9}
    assert campaign.attempts() == {1}


def test_message_that_cannot_be_written_is_retried_and_holds_up_no_other(
    database, settings, campaign
):
    """Its send stayed claimed, and a person had to decide on what was never handed over."""
    write = live_campaigns.composer(database, settings, campaign.row)
    adapter = Scripted()

    def compose(send, contact):
        if send.customer_id == "k4":
            raise KeyError("a template names what is missing")
        return write(send, contact)

    report = campaign.deliver(adapter, compose=compose)
    states = campaign.by_customer()
    assert (states.pop("k4"), set(states.values())) == ("queued", {"sent"})
    assert (report.stopped, report.counts["queued"]) == ("", 1)
    campaign.end_waits()
    campaign.deliver(adapter)
    assert campaign.by_customer()["k4"] == "sent"


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_error_in_writing_the_first_message_leaves_no_send_claimed(database, settings, error):
    campaign = LiveCampaign(database, settings, 5)

    def compose(send, contact):
        raise error

    people, adapter = live_campaigns.contacts_of(5), Scripted()
    with suppress(KeyboardInterrupt):
        campaign.deliver(adapter, people, compose=compose)
    assert campaign.states() == {"queued"}
    assert campaign.attempts() == {0}
    campaign.end_waits()
    campaign.deliver(adapter, people)
    assert campaign.states() == {"sent"}


def test_send_released_during_a_run_waits_for_the_next_run(database, campaign):
    """The present run has not looked up its contact."""
    with database.transaction() as session:
        dead = sends.claim(session, "c1", "dead", NOW)
        session.execute(update(Send).where(Send.id == dead.id).values(lease_until=NOW))
    platform = Scripted()
    platform.drops_duplicates = True
    looked_up = live_campaigns.contacts_of(10)
    del looked_up[dead.customer_id]
    campaign.deliver(platform, looked_up)
    sent = dict.fromkeys(looked_up.keys() - {"k0"}, "sent")
    assert campaign.by_customer() == sent | {dead.customer_id: "queued"}
    campaign.end_waits()
    campaign.deliver(platform)
    assert campaign.states() == {"sent"}
    with database.reading() as session:
        assert session.get_one(Send, dead.id).attempts == 2  # that of the dead process, and its own


def test_sends_postponed_by_a_wrong_clock_are_due(database, settings):
    """The machine's clock was a year ahead."""
    campaign = LiveCampaign(database, settings, 20)
    ahead = clock.wall() + timedelta(days=365)
    with database.transaction() as session:
        dead = sends.claim(session, "c1", "dead", NOW)
        queued = select(Send.id).where(Send.state == "queued").order_by(Send.id)
        later = update(Send).where(Send.id == session.scalar(queued.limit(1)))
        session.execute(update(Send).where(Send.id == dead.id).values(lease_until=ahead))
        session.execute(later.values(retry_at=ahead, error="again"))
    with database.reading() as session:
        assert [c.id for c in sends.due_campaigns(session, settings.team_id, NOW)] == ["c1"]
    report = campaign.deliver(Scripted())
    assert report.counts == {"sent": 17}
    assert read(database, send_summary.counts, "c1") == {"sent": 17, "held": 1}


def test_quiet_hours_postpone_without_counting_an_attempt(database, settings, campaign):
    morning = NOW + timedelta(hours=8)

    def allowed(contact, at):
        return morning if contact.timezone == "Asia/Tokyo" and at < morning else at

    people = live_campaigns.contacts_of(10) | {"k3": Contact("k3@example.com", "", "Asia/Tokyo")}
    adapter = Scripted()
    campaign.deliver(adapter, people, allowed_from=allowed)
    states = campaign.by_customer()
    assert [customer_id for customer_id, state in states.items() if state == "queued"] == ["k3"]
    with database.reading() as session:
        assert due.next_moment(session, NOW) == morning
        assert not sends.due_campaigns(session, settings.team_id, NOW)
        assert [c.id for c in sends.due_campaigns(session, settings.team_id, morning)] == ["c1"]
    campaign.deliver(adapter, people, allowed_from=allowed, now=lambda: morning)
    assert campaign.states() == {"sent"}


def test_sending_respects_the_rate(campaign):
    began = time.monotonic()
    campaign.deliver(Scripted(), rate=40.0)
    assert time.monotonic() - began >= 8 / 40


def test_unsubscribe_or_stop_ends_sending_to_the_customer(database, campaign):
    with database.transaction() as session:
        first, second = session.scalars(select(Send).order_by(Send.id).limit(2))
        assert consent.unsubscribe(session, first.id, NOW)
        assert consent.unsubscribe(session, first.id, NOW)  # again: harmless
        sends.cancel_sends_to(session, "c1", [second.customer_id], "no_consent")
        assert consent.suppressed_customers(session) == {first.customer_id}
    adapter = Scripted()
    campaign.deliver(adapter, seconds=0.05, rate=30.0)
    assert not {first.customer_id, second.customer_id} & {m.customer_id for m in adapter.given}
    message_count = len(adapter.given)
    change(database, decisions.stop, Step("c1", "U0LEAD", at=NOW), "wrong code")
    campaign.deliver(adapter)
    assert len(adapter.given) == message_count
    assert campaign.states() <= {"sent", "cancelled"}


class Stopping(Scripted):
    """Stops the campaign during the first e-mail, which then ends as scripted."""

    def __init__(self, stop, said: str) -> None:
        super().__init__(k1=said)
        self.stop = stop

    def send(self, message) -> Verdict:
        self.stop()
        return super().send(message)


@pytest.mark.parametrize("said", ["again", "away"])
def test_send_returned_after_a_stop_is_cancelled(database, said, campaign):

    def stop():
        change(database, decisions.stop, Step("c1", "U0LEAD", at=NOW), "wrong code")

    campaign.deliver(Stopping(stop, said))
    assert campaign.states() == {"cancelled"}


@pytest.mark.parametrize("repeats", [False, True])
def test_send_of_a_dead_process_is_held_after_a_stop(database, settings, repeats, campaign):
    with database.transaction() as session:
        assert sends.claim(session, "c1", "dead", NOW)
        decisions.stop(session, Step("c1", "U0LEAD", at=NOW), "wrong code")
        assert not sends.due_campaigns(session, settings.team_id, NOW)  # its process may be alive
        session.execute(update(Send).where(Send.state == "sending").values(lease_until=NOW))
        assert [c.id for c in sends.due_campaigns(session, settings.team_id, NOW)] == ["c1"]
    adapter = Scripted()
    adapter.drops_duplicates = repeats
    campaign.deliver(adapter)
    assert adapter.given == []
    assert sorted(campaign.states()) == ["cancelled", "held"]
    assert not read(database, sends.due_campaigns, settings.team_id, NOW)


def test_unsent_emails_are_cancelled_when_the_window_ends(database, campaign):
    change(
        database, closing.begin_measurement, Step("c1", "U0LEAD", at=campaign.row.window_ends_at)
    )
    assert campaign.states() == {"cancelled"}


def test_tick_does_not_read_old_sends(database, settings, campaign):
    """A tick runs each minute."""
    old = {"campaign_id": "c1", "channel": "email", "state": "sent"}
    old |= {"queued_at": NOW, "sent_at": NOW}
    steps: list[None] = []
    with database.transaction() as session:
        session.execute(update(Send).values(state="sent"))
        rows = [old | {"customer_id": f"old{number}"} for number in range(5000)]
        session.execute(insert(Send), rows)
        sqlite = session.connection().connection.driver_connection
        sqlite.set_progress_handler(lambda: steps.append(None), 1000)
        assert sends.due_campaigns(session, settings.team_id, NOW) == []
        sqlite.set_progress_handler(None, 0)
    assert len(steps) < 5  # thousands of the database's steps


def test_tick_requests_one_delivery_job_at_a_time(database, campaign):
    clock.configure(fixed=NOW)
    with database.transaction() as session:
        (job,) = due.due_jobs(session, NOW)
        assert (job.kind, job.args["campaign_id"]) == ("campaign_deliver", "c1")
        same = {"kind": job.kind, "args": job.args, "idem_key": job.idem_key}
        session.add(Job(id="j", queue="batch", requested_by="U0LEAD", business_at=NOW, **same))
        session.flush()
        assert due.due_jobs(session, NOW) == []


def test_sending_requires_a_public_url(database, settings, campaign):
    private = Settings(home=settings.home, smtp_url="smtp://x", _env_file=None)
    with pytest.raises(BadInput, match="RETENTION_PUBLIC_URL"):
        live_campaigns.deliver_now(database, private, campaign.row, Scripted())
    assert campaign.states() == {"queued"}


def test_only_possibly_delivered_emails_count_as_contact(database, settings, campaign):
    campaign.deliver(Scripted(k2="bounced", k3="doubtful", k4="failed"))
    with database.reading() as session:
        reached = send_summary.customers_with_sends(session, settings.team_id, NOW)
        later = NOW + timedelta(seconds=1)
        assert not send_summary.customers_with_sends(session, settings.team_id, later)
        assert find_campaign(session, "c1").state == "live"
    assert reached == {"k1", "k3", "k5", "k6", "k7", "k8", "k9"}


def test_customers_without_an_email_are_counted_by_reason(database, campaign):
    """Bounced and failed sends count, too."""
    change(database, sends.cancel_sends_to, "c1", ["k9"], "no_consent")
    carrier = Scripted(k2="bounced", k3="doubtful", k4="failed", k5="bounced")
    campaign.deliver(carrier)
    with database.reading() as session:
        why = send_summary.uncontacted_reasons(session, "c1")
        assert sum(why.values()) == len(send_summary.uncontacted_customers(session, "c1"))
    assert why == {"it bounced": 2, "it could not be sent": 1, "no consent any more": 1}


def test_reasons_are_grouped_by_code_not_by_sentence(database, campaign):
    with database.transaction() as session:
        sends.cancel_sends_to(session, "c1", ["k8", "k9"], "no_consent")
        other_language = update(Send).where(Send.customer_id == "k8")
        session.execute(other_language.values(error="keine Einwilligung mehr"))
    assert read(database, send_summary.uncontacted_reasons, "c1") == {"no consent any more": 2}


KILLS = 8


def _killed_again_and_again(database, settings, control: str) -> tuple[Inbox, dict[str, str], int]:
    """Send 60 e-mails with processes killed at random moments.

    Returns the inbox, the states of the sends and the number of kills.
    """
    live_campaigns.start_campaign(database, settings, 66)
    inbox = Inbox(pause=0.02)  # it has the mail, and takes its time to say so
    server = Mailserver(inbox)
    server.start()
    command = [sys.executable, "-m", "tests.retention.outreach.child"]
    command += [str(settings.home), str(server.port), control]
    chance, kills = random.Random(7), 0
    try:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as forks:
            assert forks.stdin is not None
            assert forks.stdout is not None
            while {"queued", "sending"} & set(live_campaigns.send_states(database).values()):
                forks.stdin.write("go\n")
                child = int(forks.stdout.readline())
                enough = len(inbox.mails) + chance.randint(1, 9)
                if kills < KILLS:
                    while len(inbox.mails) < enough:
                        time.sleep(0.001)
                    time.sleep(chance.uniform(0, 0.03))
                    os.kill(child, signal.SIGKILL)
                    kills += 1
                assert forks.stdout.readline() == "over\n"
            forks.stdin.close()
    finally:
        server.stop()
    return inbox, live_campaigns.send_states(database), kills


@pytest.mark.nightly
@pytest.mark.parametrize("control", ["honest", pytest.param("repeats", marks=pytest.mark.slow)])
def test_killed_processes_lose_and_duplicate_no_email(database, settings, control):
    inbox, states, kills = _killed_again_and_again(database, settings, control)
    arrived = {customer_id: inbox.addresses[f"{customer_id}@example.com"] for customer_id in states}
    doubled = [customer_id for customer_id, number in arrived.items() if number > 1]
    lost = [each for each, state in states.items() if state == "sent" and not arrived[each]]
    held = [customer_id for customer_id, state in states.items() if state == "held"]
    counts = f"doubled={len(doubled)} lost={len(lost)} held={len(held)}"
    print(f"kills={kills} copies={len(states)} {counts}")
    assert kills == KILLS
    assert not lost
    assert set(states.values()) <= {"sent", "held"}
    if control == "repeats":
        assert doubled  # the control: repeating what is in doubt sends twice
    else:
        assert not doubled
        assert len(held) <= kills  # at most the one copy in flight at each
