"""Test bounces reported later: matched sends and excluded customers."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from retention.campaigns.lifecycle import closing
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.measurement.redemption_and_bounce_files import bounce_rows, import_rows
from retention.db.tables import DirectoryEntry, Send
from retention.errors import BadInput
from retention.lake import Lake
from retention.outreach import send_summary
from retention.outreach.adapter import ADDRESS_REFUSED, MESSAGE_REFUSED, REPORTED_LATER
from retention.outreach.bounces import Bounce, customers_with_bounced_address, mark_bounced
from retention.outreach.smtp import bounce_code
from retention.privacy import email_hash
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import NOW
from tests.world import change, execute

AT = NOW + timedelta(days=2)


@pytest.fixture
def campaign(database, settings):
    """Twenty customers, of whom eighteen have been sent their copies; k5 is an id of k4 by now."""
    campaign = live_campaigns.start_campaign(database, settings, 20)
    with database.transaction() as session:
        session.execute(update(Send).values(channel="email", state="sent", sent_at=NOW))
        for number in range(20):
            hashed = email_hash(settings.key, f"k{number}@example.com")
            own = {"customer_id": f"k{number}", "pseudonym": f"p{number}", "email_hash": hashed}
            session.add(DirectoryEntry(**own, canonical_id="k4" if number == 5 else None))
    return campaign


def _told(database, settings, *bounces) -> list[str]:
    return change(database, mark_bounced, bounces)[0]


def _bounced(database) -> set[str]:
    states = live_campaigns.send_states(database)
    return {customer_id for customer_id, state in states.items() if state == "bounced"}


def test_each_bounce_marks_one_earlier_send_once(database, settings, campaign):
    by_id, by_address = Bounce(AT, "k3"), Bounce(AT, email=" K7@Example.com ")
    early, late = Bounce(NOW - timedelta(days=3), "k8"), Bounce(NOW + timedelta(days=20), "k8")
    stranger, held_out = Bounce(AT, "nobody", "nobody@example.com"), Bounce(AT, "k0")
    told = _told(database, settings, by_id, by_address, by_id, early, late, stranger, held_out)
    assert told == ["bounced", "bounced", "repeated", *4 * ["unknown"]]
    assert _told(database, settings, by_address) == ["repeated"]
    assert _bounced(database) == {"k3", "k7"}
    with database.reading() as session:
        assert send_summary.uncontacted_reasons(session, "c1") == {"it bounced": 2}
        assert {"k3", "k7"} <= send_summary.uncontacted_customers(session, "c1")


def test_bounce_dated_by_day_matches_a_send_of_that_day(database, settings, campaign):
    assert _told(database, settings, Bounce(NOW.replace(hour=0), "k3")) == ["bounced"]


def test_bounces_treat_merged_ids_as_one_customer(database, settings, campaign):
    execute(database, update(Send).where(Send.customer_id == "k4").values(state="cancelled"))
    assert _told(database, settings, Bounce(AT, "k4")) == ["bounced"]
    assert _bounced(database) == {"k5"}


def test_unknown_id_is_no_customer_without_an_address(database, settings, campaign):
    execute(database, update(DirectoryEntry).values(email_hash=None))
    told = _told(database, settings, Bounce(AT, "k3"), Bounce(AT, "nobody"))
    assert told == ["bounced", "unknown"]


def test_bounce_marks_the_newest_send_and_later_delivery_clears_it(database, settings, campaign):
    with database.transaction() as session:
        closing.begin_measurement(session, Step("c1", "U0LEAD", at=campaign.window_ends_at))
        later = campaign.window_ends_at + timedelta(days=1)
    live_campaigns.start_campaign(database, settings, 20, "c2", later)
    with database.transaction() as session:
        sent = {"channel": "email", "state": "sent", "sent_at": later, "queued_at": later}
        session.execute(update(Send).where(Send.campaign_id == "c2").values(sent))
    bounces = [Bounce(NOW + timedelta(days=1), "k3"), Bounce(later + timedelta(days=1), "k7")]
    assert _told(database, settings, *bounces) == ["bounced", "bounced"]
    with database.reading() as session:
        marked = select(Send.campaign_id, Send.customer_id).where(Send.state == "bounced")
        assert set(session.execute(marked).tuples()) == {("c1", "k3"), ("c2", "k7")}
        assert customers_with_bounced_address(session, NOW) == {"k7"}  # k3 has been reached since
        assert customers_with_bounced_address(session, later + timedelta(seconds=1)) == set()


@pytest.mark.parametrize(
    ("code", "is_excluded"),
    [
        (bounce_code("550 5.1.1 …: user unknown"), True),
        (bounce_code("550 no such user"), True),
        (bounce_code("552 5.2.2 mailbox full"), True),
        (ADDRESS_REFUSED, True),
        (REPORTED_LATER, True),
        (None, True),
        (bounce_code("554 5.7.1 spam"), False),
        (bounce_code("550 5.7.1 policy"), False),
        (bounce_code("552 5.3.4 message too big"), False),
        (bounce_code("554 no"), False),
        (MESSAGE_REFUSED, False),
    ],
)
def test_only_bounces_about_the_address_exclude_a_customer(
    database, settings, campaign, code, is_excluded
):
    """A spam filter that refuses a campaign must not exclude its customers from the next."""
    with database.transaction() as session:
        bounced = update(Send).where(Send.customer_id == "k3")
        session.execute(bounced.values(state="bounced", error_code=code))
        excluded = customers_with_bounced_address(session, NOW)
    assert excluded == ({"k3"} if is_excluded else set())


def test_customers_with_a_corrected_address_are_not_excluded(database, settings, campaign):
    """A corrected address ends the exclusion."""
    bounces = [Bounce(AT, customer_id) for customer_id in ("k3", "k4", "k7", "k8")]
    assert _told(database, settings, *bounces) == 4 * ["bounced"]
    # k5 is another id of k4; k8's copy went to the new address.
    with database.transaction() as session:
        for customer_id, days in (("k3", 3), ("k5", 3), ("k8", -3)):
            at = NOW + timedelta(days=days)
            entry = update(DirectoryEntry).where(DirectoryEntry.customer_id == customer_id)
            session.execute(entry.values(email_changed_at=at))
        assert customers_with_bounced_address(session, NOW) == {"k7", "k8"}


def test_bounce_file_is_imported_once_and_unknown_rows_are_quarantined(
    database, settings, campaign, tmp_path
):
    lake, recounts = Lake.open(settings), []
    file = tmp_path / "bounces.csv"
    lines = [f"{name}@example.com,2025-05-03 10:00:00" for name in ("k3", "x")]
    lines += ["k7@example.com,soon"]
    file.write_text("\n".join(["email,occurred_at", *lines]))

    def recount(session, of):
        number = session.scalar(select(func.count()).where(Send.state == "bounced"))
        recounts.append((of.id, number))

    report = import_rows(lake, database, bounce_rows(recount), [str(file)])
    assert (report.rows_read, report.rows_accepted, report.rows_quarantined) == (3, 1, 2)
    assert report.bounces == {"bounced": 1}
    assert (
        "nobody to whom a copy of ours had gone in the two weeks before" in report.quarantine_text
    )
    again = import_rows(lake, database, bounce_rows(recount), [str(file)])
    assert (again.rows_accepted, again.rows_duplicate, again.bounces) == (0, 1, {"repeated": 1})
    assert recounts == [("c1", 1)]
    file.write_text("email,occurred_at\nx@example.com,2025-05-03")
    with pytest.raises(BadInput, match="nobody to whom a copy of ours had gone"):
        import_rows(lake, database, bounce_rows(recount), [str(file)])
