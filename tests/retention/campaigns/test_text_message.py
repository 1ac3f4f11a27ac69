"""Test short texts: their words, their length in SMS and what they cost."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.campaigns.message.text_message import (
    GSM,
    channel_policy,
    count_parts,
    text_content,
    text_readers,
    with_parts,
)
from retention.campaigns.message.wording import SHIPPED, default_text, shipped_languages
from retention.errors import BadInput
from retention.outreach.adapter import Contact
from retention.risk.policy import load_policy
from tests.retention.campaigns.samples import a_body, offer_of, write_home

ROW = {
    "customer_id": "k1",
    "offer": offer_of() | {"consent": ["given"]},
    "code": "7KQ2-M9ZD-4HT6",
    "expires_at": datetime(2025, 5, 29, 12, tzinfo=UTC),
}
BRAND = """
name = "Leaf & Kettle"
website = "https://tea.example"
[links]
discount = "https://tea.example/discount/{code}?redirect={redirect}"
"""


def sms_body(channel: str = "sms", **changes):
    text = default_text("coupon", channel=channel)
    return a_body(**{"message_channel": channel, "copy_text": text, **changes})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),  # each takes two places
        ("€" * 81, 2),
        ("é" * 160, 1),
        ("ê" * 70, 1),  # not in the GSM alphabet
        ("ê" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_parts_follow_the_alphabet(text, parts):
    assert count_parts(text) == parts
    assert count_parts(text, "whatsapp") == 1


@given(st.text(max_size=400))
def test_parts_hold_the_whole_text(text):
    capacity = 160 if all(sign in GSM for sign in text) else 80
    parts = count_parts(text)
    assert parts >= len(text) / capacity
    assert parts <= 1 + len(text) / 33


@pytest.mark.parametrize("language", shipped_languages())
def test_text_of_each_language_is_one_sms_with_link_and_stop(settings, language):
    write_home(settings, "brand.toml", BRAND)
    content = text_content(settings, sms_body(), ROW, Contact(name="Ann", locale=language))
    assert "Ann" in content.text
    assert "7KQ2-M9ZD-4HT6" in content.text
    assert "Leaf & Kettle" in content.text
    assert content.link == "https://tea.example/discount/7KQ2-M9ZD-4HT6?redirect=%2F"
    assert content.text.endswith(f"{content.link} {content.opt_out}")
    assert "STOP" in content.opt_out
    is_gsm = all(sign in GSM for sign in content.text)
    assert is_gsm == (language != "zh")
    assert content.parts == count_parts(content.text) <= (2 if is_gsm else 3)


def test_own_text_goes_out_as_written_and_cannot_lose_the_opt_out(settings):
    body = sms_body(copy_text="{name}: {code}")
    content = text_content(settings, body, ROW, Contact(name="Ann", locale="de-DE"))
    assert content.text == "Ann: 7KQ2-M9ZD-4HT6 Reply STOP to end."


def test_language_without_short_texts_uses_the_shop_language(settings):
    """A shop's own file of before has no section [sms]."""
    english = (SHIPPED / "en.toml").read_text(encoding="utf-8")
    without_sms = re.sub(r"\[sms\].*(?=\[unsubscribe_page\])", "", english, flags=re.DOTALL)
    write_home(settings, "email_text/nl.toml", without_sms)
    content = text_content(settings, sms_body(), ROW, Contact(name="Ann", locale="nl-NL"))
    assert content.text.startswith("Hello Ann, 10% off your next order.")


def test_longer_text_costs_more_parts(settings):
    body = with_parts(settings, sms_body(contact_cost=0.06))
    longer = with_parts(settings, body.model_copy(update={"copy_text": "{code} " + "a" * 300}))
    assert (body.parts, longer.parts) == (1, 3)
    assert longer.contact_cost == pytest.approx(3 * body.contact_cost)
    assert longer.plan().cost > body.plan().cost
    assert with_parts(settings, a_body()).contact_cost == a_body().contact_cost


@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
def test_policy_of_a_text_has_its_own_cost_and_assumes_no_consent(settings, channel):
    installed = load_policy(settings)
    loose = installed.model_copy(
        update={"campaign": installed.campaign.model_copy(update={"consent": "unless_refused"})}
    )
    policy = channel_policy(settings, loose, channel)
    cost = {"sms": 0.06, "whatsapp": 0.08}[channel]
    assert policy.offer.contact_cost == pytest.approx(cost)
    assert policy.campaign.max_calls == 0
    assert {policy.consent_for(rule.name) for rule in policy.rules} == {("given",)}
    assert channel_policy(settings, loose, "email") is loose


TITLES = (
    "Organic Darjeeling First Flush 250 g tin",
    "Hand-thrown stoneware teapot, 0.8 litre, blue glaze",
    "Japanese sencha gift box with two cups",
)


def _terms(*titles: str) -> dict:
    items = [{"item_id": title, "title": title, "source": "new_arrival"} for title in titles]
    return {**ROW["offer"], "items": items}


@pytest.mark.parametrize(
    ("contact", "titles", "text"),
    [
        (Contact(name="Alexandra Schmidt", locale="en-GB"), TITLES, "Hi {name}, {code}: {items}"),
        (Contact(name="Łukasz Nowak", locale="pl-PL"), (), None),
        (Contact(name="Alexandra Charlotte Schmidt", locale="zh-CN"), (), None),
    ],
    ids=["items", "Unicode name", "language"],
)
def test_cost_counts_items_names_and_languages(settings, contact, titles, text):
    body = sms_body(contact_cost=0.06, **({"copy_text": text} if text else {}))
    short = Contact(name="Ann", locale="en-GB")
    body = body.model_copy(update={"readers": text_readers([contact, short])})
    terms = [_terms(*titles), _terms()]
    sent = [
        text_content(settings, body, {**ROW, "offer": offer}, one)
        for offer, one in zip(terms, (contact, short), strict=True)
    ]
    assert [content.parts for content in sent] == [2, 1]
    costed = with_parts(settings, body, terms)
    assert costed.parts == 1.5
    assert costed.contact_cost == pytest.approx(0.09)


def test_own_text_too_long_with_its_items_is_refused(settings):
    body = sms_body(copy_text="{items} " + "a" * 400, readers=text_readers([Contact()]))
    with pytest.raises(BadInput, match=r"leave out \{items\}"):
        with_parts(settings, body, [_terms(*TITLES)])
    with_parts(settings, body, [_terms("Tea")])


def test_sample_keeps_no_name():
    (reader,) = text_readers([Contact("a@b.example", "Łukasz Nowak", locale="pl-PL", phone="+48")])
    assert reader.model_dump() == {"locale": "pl-PL", "name_length": 12, "is_gsm": False}
