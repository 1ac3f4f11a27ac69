"""Test variants of a message from the approval to the winner."""

from collections import Counter
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle.copy_test import CopyTest, changed_test
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.launch import recipient_rows
from retention.campaigns.message.email_content import email_content
from retention.campaigns.message.parts import PartChanges
from retention.db.tables import Assignment, Send
from retention.errors import BadInput
from retention.outreach import send_summary
from tests.workers.campaigns.desk import ANALYST, LEAD
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignLook, CampaignPreview

B = changed_test(CopyTest(variants=()), variant="B", message=PartChanges(subject="Only for you"))


def _sender(desk):
    """The desk with a mail server, which nothing is sent to."""
    secrets = {"webhook_url": "https://mail.example/hook", "webhook_key": "k" * 32}
    shown = {name: SecretStr(value) for name, value in secrets.items()}
    return desk.with_settings(public_url="https://shop.example", **shown)


def _live(desk, test):
    desk.drafted()
    version = desk.decide(decisions.edit, ANALYST, Changes(test=test)).version
    desk.decide(decisions.submit, ANALYST)
    desk.decide(decisions.approve, LEAD)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    desk.done(desk.sending().model_copy(update={"version": version}))
    return desk.rows(
        select(Assignment.customer_id, Assignment.variant, Assignment.variant_propensity).where(
            Assignment.arm == "treatment"
        )
    )


def test_variants_are_drawn_evenly_from_the_treatment_group(desk):
    desk = _sender(desk)
    drawn = _live(desk, B)
    sizes = Counter(variant for _, variant, _ in drawn)
    assert set(sizes) == {"A", "B"}
    assert abs(sizes["A"] - sizes["B"]) <= 2
    assert {propensity for *_, propensity in drawn} == {0.5}
    subjects = {
        row["offer"]["variant"]: email_content(desk.settings, desk.body(), row).subject
        for row in desk.read(recipient_rows, desk.campaign())
    }
    assert subjects["B"] == "Only for you"
    assert subjects["A"] != subjects["B"]


@pytest.mark.parametrize("has_winner", [False, True], ids=["no winner", "winner"])
def test_rest_waits_for_the_winner_and_gets_its_message_once(desk, has_winner):
    desk = _sender(desk)
    test = B.model_copy(update={"share": 0.5, "days": 7})
    drawn = _live(desk, test)
    rest = {customer for customer, variant, _ in drawn if variant is None}
    queued = select(Send.customer_id).where(Send.channel == "webhook")
    assert abs(2 * len(rest) - len(drawn)) <= 4
    assert rest.isdisjoint(desk.scalars(queued))
    tested = {name: [one for one, variant, _ in drawn if variant == name] for name in "AB"}
    buyers = tested["A"][:12] + tested["B"][: None if has_winner else 12]
    desk.bring("purchase", clock.now() + timedelta(days=1), buyers)
    desk.go_on(days=7, hours=1)
    decided = [job for job in desk.tick() if job.kind == "campaign_decide"]
    assert [job.error for job in decided] == [None]
    result = desk.campaign().test_result
    assert sorted(each["name"] for each in result["variants"]) == ["A", "B"]
    assert sorted(desk.scalars(queued)) == sorted(customer for customer, *_ in drawn)
    now = dict(desk.rows(select(Assignment.customer_id, Assignment.variant)))
    assert {now[customer] for customer in rest} == {result["winner"] or "A"}
    assert "No winner" in desk.thread("test", 2) or result["winner"] in desk.thread("test", 2)
    assert not [job for job in desk.tick() if job.kind == "campaign_decide"]


@pytest.mark.nightly
def test_look_compares_the_variants_so_far(desk):
    desk = _sender(desk)
    _live(desk, B)
    desk.go_on(days=3)
    look = desk.done(CampaignLook(campaign_id=desk.campaign_id)).result["variants"]
    assert (look["day"], look["days"]) == (3, 28)
    assert look["winner"] is None


@pytest.mark.campaign("draft")
def test_discount_of_a_variant_reaches_its_customers_and_the_forecast(desk):
    desk = _sender(desk)
    before = desk.body().plan().cost
    test = changed_test(CopyTest(variants=()), variant="B", message=PartChanges(), discount=0.2)
    version = desk.decide(decisions.edit, ANALYST, Changes(test=test)).version
    assert desk.body().plan().cost > before
    desk.decide(decisions.submit, ANALYST)
    desk.decide(decisions.approve, LEAD)
    found = {
        (row.variant, row.offer["discount"])
        for row in desk.scalars(select(Assignment).where(Assignment.arm == "treatment"))
        if row.offer["action"] == "coupon"
    }
    assert (version, found) == (2, {("A", 0.1), ("B", 0.2)})


@pytest.mark.campaign("draft")
def test_preview_shows_a_variant_before_anyone_is_drawn(desk):
    desk.decide(decisions.edit, ANALYST, Changes(test=B))
    shown = desk.done(CampaignPreview(campaign_id=desk.campaign_id, variant="B"), ANALYST)
    assert "Only for you" in desk.messages(f"job:{shown.id}")
    shown = desk.done(CampaignPreview(campaign_id=desk.campaign_id), ANALYST)
    assert "Only for you" not in desk.messages(f"job:{shown.id}")


@pytest.mark.campaign("draft")
def test_test_without_a_mail_server_cannot_be_submitted(desk):
    desk.decide(decisions.edit, ANALYST, Changes(test=B))
    with pytest.raises(BadInput, match="mail server"):
        desk.decide(decisions.submit, ANALYST)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"share": 0.05}, "share"),
        ({"days": 0}, "days"),
        ({"variant": "C"}, "variant"),
        ({"discount": 0.3}, "variant"),
        ({"variant": "B", "discount": 0.2, "share": 0.5}, "share"),
    ],
)
def test_rule_that_cannot_decide_is_refused(rule, field):
    with pytest.raises(BadInput) as refused:
        changed_test(B, message=PartChanges(), **rule).check(21)
    assert refused.value.field == field


@pytest.mark.nightly
def test_customers_of_other_offers_keep_their_text_and_calls_stay_out(desk):
    """A text with a code was sent to those who have none, and calls were drawn for variants."""
    rules = '[campaign]\nquiet_hours = ""\n'
    for name, tier, action in (("A", "high", "reminder"), ("B", "medium", "call")):
        rules += f'[[rules]]\nname = "{name}"\ntiers = ["{tier}"]\naction = "{action}"\n'
    rules += '[[rules]]\nname = "C"\ntiers = ["low"]\naction = "coupon"\ndiscount = 0.1\n'
    desk = _sender(desk.with_policy(rules + "[tiers]\nhigh = 0.6\nmedium = 0.3\n"))
    text = PartChanges(text="Your code is {code}")
    _live(desk, changed_test(CopyTest(variants=()), variant="B", message=text))
    rows = desk.read(recipient_rows, desk.campaign())
    shown = {row["offer"]["action"]: set() for row in rows}
    for row in rows:
        content = email_content(desk.settings, desk.body(), row)
        shown[row["offer"]["action"]].add("Your code is" in content.text)
    action = Assignment.offer["action"].as_string()
    drawn = {name: desk.scalars(select(Assignment.variant).where(action == name)) for name in shown}
    assert shown.get("reminder", {False}) == {False}
    assert shown["coupon"] == {False, True}
    assert set(drawn.get("call", [None])) == {None}


@pytest.mark.parametrize(
    ("edit", "field"), [({"days": 25}, "days"), ({"days": 5, "expires_days": 8}, "days")]
)
@pytest.mark.campaign("draft")
def test_rest_has_days_left_after_the_test(desk, edit, field):
    test = B.model_copy(update={"share": 0.5, "days": edit["days"]})
    with pytest.raises(BadInput) as refused:
        desk.decide(
            decisions.edit, ANALYST, Changes(test=test, expires_days=edit.get("expires_days"))
        )
    assert refused.value.field == field


@pytest.mark.nightly
def test_rest_leaves_out_who_ordered_meanwhile(desk):
    desk = _sender(desk)
    drawn = _live(desk, B.model_copy(update={"share": 0.5}))
    returned = [customer for customer, variant, _ in drawn if variant is None][:3]
    desk.bring("purchase", clock.now() + timedelta(days=1), returned)
    desk.go_on(days=7, hours=1)
    desk.tick()
    codes = select(Send.customer_id).where(Send.error_code == "returned")
    assert sorted(desk.scalars(codes)) == sorted(returned)
    arms = dict(desk.rows(select(Assignment.customer_id, Assignment.arm)))
    assert {arms[customer] for customer in returned} == {"treatment"}


def test_stopped_test_names_who_never_got_a_message(desk):
    desk = _sender(desk)
    drawn = _live(desk, B.model_copy(update={"share": 0.5}))
    rest = {customer for customer, variant, _ in drawn if variant is None}
    assert rest <= desk.read(send_summary.uncontacted_customers, desk.campaign_id)
    assert sum(desk.read(send_summary.uncontacted_reasons, desk.campaign_id).values()) == len(rest)


@pytest.mark.campaign("draft")
def test_another_kind_of_offer_drops_the_test(desk):
    desk.decide(decisions.edit, ANALYST, Changes(test=B))
    desk.decide(decisions.edit, ANALYST, Changes(offer="reminder"))
    assert desk.body().test is None
