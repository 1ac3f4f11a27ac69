"""Test gifts, bundles, points and early access: their cost, texts and codes."""

from zoneinfo import ZoneInfo

import pytest

from retention.campaigns.codes.shop_code_queue import unmade_actions
from retention.campaigns.lifecycle.edits import Changes, apply_changes
from retention.campaigns.message.customer_message import compose_message
from retention.campaigns.message.wording import shipped_languages
from retention.campaigns.planning.offer_terms import next_step, public_terms, stored_offer
from retention.connect import connections
from retention.db.tables import Send
from retention.errors import BadInput
from retention.outreach.adapter import Contact
from retention.risk.strategy import CODED, NAMED, Rule
from tests.retention.campaigns.samples import NOW, a_body, a_line
from tests.world import change

WHAT = "a tea towel & <b>mug</b>"
TERMS = {
    "gift": {"face": 3.0, "min_order": 40.0},
    "bundle": {"discount": 0.1},
    "points": {"face": 2.0, "redeemed": 0.4},
    "early_access": {},
}


def a_rule(action: str, **terms) -> Rule:
    return Rule(name="A", tiers=("high",), action=action, **terms)


def line_of(action: str):
    return a_line(**{"action": action, "discount": 0.0, "what": WHAT} | TERMS[action])


def test_plan_counts_each_gift_and_the_share_of_points_that_is_used():
    buyers = 40 + 0.04 * 100
    cost = a_body(offers=(line_of("gift"),)).plan().cost
    assert cost == pytest.approx(0.85 * (0.1 * 3 * buyers + 2))
    cost = a_body(offers=(line_of("points"),)).plan().cost
    assert cost == pytest.approx(0.85 * (0.4 * 2 * buyers + 2))
    cost = a_body(offers=(line_of("early_access"),)).plan().cost
    assert cost == pytest.approx(0.85 * 2)
    assert a_body(offers=(line_of("gift"),)).discount is None


@pytest.mark.parametrize("language", shipped_languages())
@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize("action", NAMED)
@pytest.mark.parametrize("kind", ["win_back", "thank_you"])
def test_message_says_the_offer_and_its_code_in_each_language(
    settings, language, channel, action, kind
):
    body = a_body(offers=(line_of(action),), copy_text="", message_channel=channel, kind=kind)
    code = "7KQ2-M9ZD-4HT6" if action in CODED else None
    offer = {"offer": stored_offer(line_of(action), (), "EUR"), "code": code}
    offer["expires_at"] = NOW if code else None
    contact = Contact("ann@example.com", "Ann", phone="+4915112345678", locale=language)
    send = Send(id=1, campaign_id="c1", customer_id="k1")
    message = compose_message(settings, body, send, contact, offer, "https://x.example/u")
    assert WHAT in message.text
    assert (code or "{code}") in message.text or code is None
    assert "{" not in message.text
    assert "<b>mug" not in message.html
    assert message.offer["what"] == WHAT
    assert message.offer["amount"] == 0.0  # what it costs the shop is nobody's business


def test_offer_for_all_replaces_the_words():
    changes = Changes(offer="share", discount=0.1)
    body = apply_changes(a_body(offers=(line_of("points"),)), changes, ZoneInfo("UTC"), NOW)
    (line,) = body.offers
    assert (line.what, line.redeemed, line.action) == ("", None, "coupon")
    assert "what" not in public_terms(stored_offer(line, (), "EUR"))


GIFT = """
[[rules]]
name = "Mug"
tiers = ["high"]
action = "gift"
what = "a mug"
cost = 2.5
min_order = 30
redeemed = 0.5
"""


def test_edit_gives_all_customers_an_offer_of_the_policy(settings, tmp_path):
    file = tmp_path / "policy.toml"
    own = settings.model_copy(update={"policy": file})
    body, call = a_body(), a_line(rule="Calls", action="call", discount=0.0, contact=4.0)
    body = body.model_copy(update={"offers": (*body.offers, call)})

    def edited(offer, policy):
        file.write_text(policy)
        return apply_changes(body, Changes(offer=offer), ZoneInfo("UTC"), NOW, own).offers

    for line in edited("gift", GIFT):
        assert (line.action, line.what, line.face, line.min_order) == ("gift", "a mug", 2.5, 30)
        assert (line.redeemed, line.contact, line.discount) == (0.5, None, 0)
    for offer, policy in (("points", GIFT), ("gift", f"{GIFT}most = 9\n")):
        with pytest.raises(BadInput) as refusal:
            edited(offer, policy)
        assert refusal.value.field == "offer"


def test_step_of_a_list_names_the_offer():
    rule = a_rule("gift", what="a mug", cost=2.5, min_order=30)
    assert next_step(rule) == "gift"


@pytest.mark.parametrize(
    ("action", "terms", "problem"),
    [
        ("gift", {"cost": 2, "min_order": 30}, "without what"),
        ("gift", {"what": "a mug", "min_order": 30}, "without a cost"),
        ("gift", {"what": "a mug", "cost": 2}, "without a min_order"),
        ("bundle", {"what": "3 for 2"}, "without a discount"),
        ("early_access", {"what": "the sale", "cost": 2}, "only gift, points"),
        ("early_access", {"what": "the sale", "redeemed": 0.2}, "with redeemed"),
        ("reminder", {"what": "a mug"}, "only gift, bundle, points, early_access"),
        ("points", {"what": "200", "cost": 2, "discount": 0.1}, "only coupons"),
    ],
)
def test_rule_with_terms_that_do_not_fit_is_refused(action, terms, problem):
    with pytest.raises(ValueError, match=problem):
        a_rule(action, **terms)


def test_shop_that_cannot_make_gifts_is_named(database):
    with database.reading() as session:
        assert unmade_actions(session, NAMED) == ()
    shop = ("shop", "shopify", (), {})
    change(database, connections.add, *shop, channel=None, by="U0ADMIN")
    with database.reading() as session:
        assert unmade_actions(session, NAMED) == ("bundle", "gift")
        assert unmade_actions(session, ("coupon", "reminder")) == ()
