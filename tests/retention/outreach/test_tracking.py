"""Test opens and clicks: whose are stored, what an e-mail links to, and the counts."""

import re
from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import select

from retention import erasure
from retention.db.tables import Assignment, CampaignLink, MessageEvent, Send
from retention.lake import Lake
from retention.outreach import tracking
from retention.outreach.tracking import Reach
from retention.risk.policy import Policy, TrackingRules
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.live_campaigns import NOW
from tests.retention.outreach.test_machines import IPHONE
from tests.retention.outreach.test_run import Scripted
from tests.world import change, read, rows, scalar, scalars

PERSON = {"user-agent": IPHONE}
MINUTE = timedelta(minutes=1)
PAGE = "https://shop.example/tea?a=1&b=2"


def _tracked(campaign, opens=(), clicks=(), page=PAGE):
    """Send the campaign with a link to a page; return the e-mails by customer."""
    compose = live_campaigns.composer(campaign.database, campaign.settings, campaign.row)
    both = {"open": {*opens}, "click": {*clicks}}
    change(campaign.database, tracking.mark_tracked, campaign.row.id, both)

    def linked(send, contact):
        message = compose(send, contact)
        url = page.replace("{code}", message.offer["code"] or "").replace("&", "&amp;")
        html = message.html.replace("</body>", f'<a class="x" href="{url}">Tea</a></body>')
        object.__setattr__(message, "html", html)
        return message

    adapter = Scripted()
    campaign.deliver(adapter, compose=tracking.tracked_composer(campaign.database, linked))
    return {message.customer_id: message for message in adapter.given}


def _token(path: str, message) -> str:
    return re.findall(rf'"https://crm.shop.example{path}([^"]+)"', message.html)[-1]


def _send_id(campaign, customer: str) -> int:
    return scalar(campaign.database, select(Send.id).where(Send.customer_id == customer))


def _did(campaign, customer: str, link: int = 0, after=MINUTE, headers=PERSON) -> None:
    send = _send_id(campaign, customer)
    change(campaign.database, tracking.record, send, link, headers, NOW + after)


def _events(campaign) -> list[tuple]:
    event = MessageEvent
    columns = event.customer_id, event.kind, event.reason, event.times
    return rows(campaign.database, select(*columns).order_by(event.id))


@pytest.mark.parametrize(
    ("rule", "whose"), [("off", set()), ("consent", {"a"}), ("all", {"a", "b"})]
)
def test_policy_and_consent_decide_whose_are_stored(tmp_path, rule, whose):
    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    answers = {"customer_id": ["a", "b", "c"], "tracking_consent": [True, None, False]}
    lake.upsert("customers", pd.DataFrame(answers))
    policy = Policy.model_construct(tracking=TrackingRules(opens=rule, clicks=rule))
    found = tracking.consenting(lake, policy, ["a", "b", "c"])
    assert found == {"open": whose, "click": whose}


def test_email_has_pixel_and_links_only_with_consent(campaign):
    messages = _tracked(campaign, opens={"k3"}, clicks={"k4"})
    parts = {who: ("/o/" in each.html, "/c/" in each.html) for who, each in messages.items()}
    assert (parts.pop("k3"), parts.pop("k4")) == ((True, False), (False, True))
    assert set(parts.values()) == {(False, False)}
    assert messages["k4"].unsubscribe_url in messages["k4"].html


def test_link_opens_its_own_page_with_the_customers_code(campaign):
    pattern = "https://shop.example/discount/{code}?a=1&b=2"
    messages = _tracked(campaign, clicks={"k3", "k5"}, page=pattern)
    keys = campaign.settings.keys
    send, link = tracking.read_click(keys, _token("/c/", messages["k3"]))
    pages = scalars(campaign.database, select(CampaignLink.url))
    assert pages == [pattern]  # one for all customers, and nobody's code
    assert read(campaign.database, tracking.find_page, send, link) == pattern
    code = messages["k3"].offer["code"]
    own = read(campaign.database, tracking.own_page, send, pattern)
    assert own == pattern.replace("{code}", code)
    assert tracking.read_open(keys, _token("/c/", messages["k3"])) is None


def test_repeats_count_and_machines_stay_apart(campaign):
    _tracked(campaign, opens={"k3", "k4"})
    for _ in range(3):
        _did(campaign, "k3")
    _did(campaign, "k4", headers={"user-agent": "Mozilla/5.0"})
    _did(campaign, "k4", after=timedelta(seconds=2))
    assert _events(campaign) == [("k3", "open", "", 3), ("k4", "open", "mail_privacy", 2)]


def test_many_links_within_seconds_are_a_scanners(campaign):
    _tracked(campaign, clicks={"k3", "k4"})
    for link in (1, 2, 3):
        _did(campaign, "k3", link, after=MINUTE + timedelta(seconds=link))
        _did(campaign, "k4", link, after=link * MINUTE)
    assert [event[:3] for event in _events(campaign)].count(("k3", "click", "many_links")) == 3
    assert [event[:3] for event in _events(campaign)].count(("k4", "click", "")) == 3


def test_counts_by_group_of_the_offer(campaign):
    everyone = {f"k{number}" for number in range(10)}
    _tracked(campaign, opens=everyone, clicks=everyone)
    with campaign.database.transaction() as session:
        for row in session.scalars(select(Assignment)):
            row.variant = "A" if row.customer_id in ("k1", "k3") else "B"
    _did(campaign, "k3", 7)
    _did(campaign, "k5")
    _did(campaign, "k6", headers={})
    by_variant = read(campaign.database, tracking.counts, "c1", "variant")
    delivered = len(set(scalars(campaign.database, select(Send.customer_id))) & {"k1", "k3"})
    assert by_variant["A"] == Reach(delivered, delivered, 1, 1, 0)
    rest = 9 - delivered
    assert by_variant["B"] == Reach(rest, rest, 1, 0, 1)
    assert read(campaign.database, tracking.counts, "c1") == {"": Reach(9, 9, 2, 1, 1)}
    assert read(campaign.database, tracking.counts, "other") == {"": Reach()}


def test_later_opens_change_nothing_before(campaign):
    _tracked(campaign, opens={"k3", "k4"}, clicks={"k3"})
    _did(campaign, "k3", 7)
    until = NOW + 2 * MINUTE
    window = NOW - MINUTE, until

    def known():
        found = {
            kind: read(campaign.database, tracking.customers, kind, *window)
            for kind in ("open", "click")
        }
        return found, read(campaign.database, tracking.latest, ["k3"], until)

    before = known()
    assert before == ({"open": {"k3"}, "click": {"k3"}}, dict.fromkeys(before[1], NOW + MINUTE))
    _did(campaign, "k4", after=2 * MINUTE)
    _did(campaign, "k3", 8, after=3 * MINUTE)
    _did(campaign, "k3", 7, after=3 * MINUTE)
    assert known() == before


def test_withdrawn_consent_ends_tracking_of_sent_emails(campaign):
    _tracked(campaign, opens={"k3", "k4"})
    for customer in ("k3", "k4"):
        _did(campaign, customer)
    tracked = read(campaign.database, tracking.tracked_customers)
    change(campaign.database, tracking.end_tracking, tracked, {"open": {"k4"}, "click": set()})
    for customer in ("k3", "k4"):
        _did(campaign, customer, after=2 * MINUTE)
    assert tracked == {"k3", "k4"}
    assert _events(campaign) == [("k3", "open", "", 1), ("k4", "open", "", 2)]
    assert read(campaign.database, tracking.counts, "c1") == {"": Reach(9, 1, 1, 0, 0)}


def test_erasure_keeps_counts_and_stores_no_more(campaign):
    _tracked(campaign, opens={"k3"})
    _did(campaign, "k3")
    send = _send_id(campaign, "k3")
    change(campaign.database, erasure.erase_from_sql, ["k3"])
    assert read(campaign.database, erasure.remaining_rows, ["k3"]) == 0
    change(campaign.database, tracking.record, send, 0, PERSON, NOW + 2 * MINUTE)
    assert read(campaign.database, tracking.counts, "c1")[""].opened == 1
    (event,) = _events(campaign)
    assert event[0].startswith("erased-")
    assert event[1:] == ("open", "", 1)
