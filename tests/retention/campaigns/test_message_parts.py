"""Test the message of a campaign: parts for all and for a group, blocks, and what is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retention.campaigns.lifecycle.copy_test import CopyTest, Variant
from retention.campaigns.lifecycle.edits import Changes, apply_changes
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.versions import version_changes
from retention.campaigns.message.customer_message import render_html, render_text
from retention.campaigns.message.email_content import email_content
from retention.campaigns.message.email_picture import email_blocks
from retention.campaigns.message.merged_message import message_for
from retention.campaigns.message.message_file import message_toml, read_message
from retention.campaigns.message.parts import (
    Block,
    MessageParts,
    PartChanges,
    parse_blocks,
    show_blocks,
    usual_blocks,
)
from retention.campaigns.message.wording import default_text
from retention.errors import BadFields, BadInput
from retention.outreach.adapter import Contact
from tests.retention.campaigns.email_samples import Kind, sample_row, write_brand
from tests.retention.campaigns.samples import NOW, a_body, a_line

SHOP = "https://tea.example"
LATE = a_line(rule="Late", action="reminder", discount=0.0)
ALL_BLOCKS = (
    "products:new:2|New in, picture:https://tea.example/autumn.jpg|Autumn teas, text, code, "
    "button:https://tea.example/new|See them"
)
UNUSUAL = r"products:category=Red\|white, dry:4|Wines\, text"
MARKS = ("\\", "|", ":", ",", "=", " ", "4", "text", "a")
words = st.lists(st.sampled_from(MARKS), max_size=8).map(lambda few: "".join(few).strip())


def two_groups(**changes) -> Body:
    return a_body(**{"offers": (a_line(), LATE), "copy_text": default_text(), **changes})


def edited(settings, body: Body, group: str = "", **parts: str) -> Body:
    changes = Changes(messages={group: PartChanges(**parts)})
    return apply_changes(body, changes, settings.zone, NOW, settings)


def content(settings, body: Body, kind: Kind | None = None, locale: str = "en-GB"):
    write_brand(settings, SHOP)
    row, products = sample_row(kind or Kind(), SHOP)
    row["offer"]["rule"] = "Late" if kind else "High risk"
    return email_content(settings, body, row, Contact(name="Ann", locale=locale), products=products)


def test_group_overrides_single_parts_and_an_empty_one_is_the_default(settings):
    body = edited(settings, two_groups(), subject="Tea for {name}", sender_name="Ann of Leaf")
    body = edited(settings, body, "Late", subject="We miss you, {name}", text="Come back, {name}")
    assert message_for(body, "High risk").subject == "Tea for {name}"
    coupon, late = content(settings, body), content(settings, body, Kind("reminder"))
    assert (coupon.subject, late.subject) == ("Tea for Ann", "We miss you, Ann")
    assert (coupon.sender_name, late.sender_name) == ("Ann of Leaf", "Ann of Leaf")
    assert late.paragraphs == ("Come back, Ann",)
    assert coupon.preview == coupon.code_line
    body = edited(settings, body, "Late", subject="", text="")
    assert body.group_messages == {}
    assert content(settings, body, Kind("reminder")).subject == "Tea for Ann"


def test_texts_of_stored_versions_keep_their_customers():
    old = two_groups(reminder_text="We miss you").model_dump(mode="json")
    body = Body.model_validate(
        {k: v for k, v in old.items() if "message" not in k} | {"message_channel": "email"}
    )
    assert message_for(body, "High risk").text == body.copy_text
    assert message_for(body, "Late").text == "We miss you"
    variant = MessageParts(text="Variant", subject="B")
    assert message_for(body, "Late", variant).text == "Variant"


def test_own_words_make_the_whole_email_the_shops_language(settings):
    assert content(settings, two_groups(), locale="de-DE").language == "de-DE"
    body = edited(settings, two_groups(), subject="Tea for {name}")
    assert content(settings, body, locale="de-DE").language == "en"
    body = edited(settings, two_groups(), sender_name="Ann")
    assert content(settings, body, locale="de-DE").language == "de-DE"


def test_greeting_replaces_the_line_with_the_name(settings):
    body = edited(settings, two_groups(), greeting="Dear {name}!", preheader="Only for {name}")
    shown = content(settings, body)
    assert shown.paragraphs[0] == "Dear Ann!"
    assert "Hello" not in shown.text
    assert shown.preview == "Only for Ann"


@pytest.mark.parametrize("action", ["coupon", "reminder"])
def test_default_blocks_named_give_the_same_email(settings, action):
    kind = None if action == "coupon" else Kind(action)
    usual = show_blocks(usual_blocks(has_code=action == "coupon"))
    group = "High risk" if action == "coupon" else "Late"
    plain, named = (
        content(settings, body, kind)
        for body in (two_groups(), edited(settings, two_groups(), group, blocks=usual))
    )
    assert render_html(plain) == render_html(named)
    assert render_text(plain) == render_text(named)


def test_blocks_have_their_order_and_may_be_left_out(settings):
    shown = content(settings, edited(settings, two_groups(), "High risk", blocks=ALL_BLOCKS))
    kinds = [section.kind for section in shown.sections]
    assert kinds == ["products", "picture", "text", "code", "button"]
    products, picture, *_, button = shown.sections
    assert (products.text, products.heading, len(products.items)) == ("", "New in", 2)
    assert "Picked for you" not in shown.text
    assert picture.text == "Autumn teas"
    assert button.text == "See them"
    assert "new" in button.link
    html = render_html(shown)
    assert html.index("New in") < html.index("autumn.jpg") < html.index("TEA-7F3A")
    assert [block.kind for block in email_blocks(shown)][:3] == ["shop", "text", "item"]
    late = content(settings, edited(settings, two_groups(), blocks=ALL_BLOCKS), Kind("reminder"))
    assert "Darjeeling First Flush" in render_text(late)
    bare = content(settings, edited(settings, two_groups(), "High risk", blocks="text,code"))
    assert "Picked for you" not in bare.text


def test_blocks_are_read_as_they_are_shown():
    blocks = parse_blocks(ALL_BLOCKS)
    assert parse_blocks(show_blocks(blocks)) == blocks
    assert parse_blocks("text,picture:i7")[1].item_id == "i7"
    assert parse_blocks("text,button|Read, text or call")[1].label == "Read, text or call"
    assert parse_blocks("text,products:category=Red wine, dry:4")[1].category == "Red wine, dry"
    assert show_blocks(parse_blocks(f"text,{UNUSUAL}")) == f"text, {UNUSUAL}"


@given(words.filter(bool), words, st.integers(0, 6))
@example("Size:4", "Tea, text", 0)
def test_any_words_of_a_block_are_read_as_they_were(name, label, count):
    products = Block(kind="products", source="category", category=name, count=count, label=label)
    picture = Block(kind="picture", address=name, label=label)
    blocks = (products, Block(kind="button", label=label), picture, Block(kind="text"))
    assert parse_blocks(show_blocks(blocks)) == blocks


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("subject", "two\nlines"),
        ("subject", 201 * "x"),
        ("subject", "{secret}"),
        ("sender_name", "Ann <ann@tea.example>"),
        ("sender_name", "{name}"),
        ("blocks", "code,button"),
        ("blocks", "text,text"),
        ("blocks", "text,video"),
        ("blocks", "text,products:cheap"),
        ("blocks", "text,products:category"),
        ("blocks", "text,products:new:7"),
        ("blocks", "text,picture:http://tea.example/a.jpg|Tea"),
        ("blocks", "text,picture:https://tea.example/a.jpg"),
        ("blocks", "text,button:javascript:alert(1)"),
        ("subject", "{discount} off"),  # the group of reminders has none
    ],
)
def test_unusable_part_is_refused_with_its_field(settings, field, typed):
    with pytest.raises(BadInput) as refusal:
        edited(settings, two_groups(), **{field: typed})
    assert refusal.value.field == field


def test_code_must_be_shown_and_groups_must_exist(settings):
    body = a_body(copy_text="Come back, {name}")
    with pytest.raises(BadInput, match="code") as refusal:
        edited(settings, body, blocks="text,button")
    assert refusal.value.field == "blocks"
    with pytest.raises(BadInput, match="High risk") as refusal:
        edited(settings, body, "Lost", subject="Hello")
    assert refusal.value.field == "group"


def test_variants_of_a_test_are_checked_for_each_group(settings):
    variant = Variant(name="B", message=MessageParts(subject="{discount} off"))
    changes = Changes(test=CopyTest(variants=(variant,)))
    with pytest.raises(BadInput, match="Late") as refusal:
        apply_changes(two_groups(), changes, settings.zone, NOW, settings)
    assert refusal.value.field == "subject"
    one_group = apply_changes(a_body(), changes, settings.zone, NOW, settings)
    assert message_for(one_group, "High risk", variant.message).subject == "{discount} off"


def test_texts_have_no_other_parts(settings):
    with pytest.raises(BadInput) as refusal:
        edited(settings, a_body(message_channel="sms"), subject="Hello")
    assert refusal.value.field == "subject"


def test_another_offer_drops_what_was_written_for_the_one_before(settings):
    body = edited(settings, a_body(), subject="{discount} off", sender_name="Ann")
    body = edited(settings, body, "High risk", text="Only {code}")
    changed = apply_changes(body, Changes(offer="reminder"), settings.zone, NOW, settings)
    assert changed.message == MessageParts(sender_name="Ann")
    assert changed.group_messages == {}


def test_version_changes_name_part_and_group(settings):
    body = edited(settings, two_groups(), "Late", subject="We miss you", blocks="text")
    assert version_changes(two_groups(), body) == [
        {"field": "subject", "before": "", "after": "We miss you", "group": "Late"},
        {"field": "blocks", "before": "", "after": "text", "group": "Late"},
    ]


def test_file_reads_back_as_it_was_written(settings, tmp_path):
    body = edited(settings, two_groups(), subject='A "quoted" \\ subject', blocks=ALL_BLOCKS)
    body = edited(settings, body, "Late", text="Two\n\nparagraphs", blocks="text")
    file = tmp_path / "message.toml"
    file.write_text(message_toml(body), encoding="utf-8")
    start = two_groups(copy_text="Other {code}")
    assert apply_changes(start, read_message(file), settings.zone, NOW, settings) == body
    file.write_text('[group."Late"]\nsubjekt = "x"\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"group\.Late\.subjekt"):
        read_message(file)


def test_errors_of_several_parts_come_together(settings):
    with pytest.raises(BadFields) as refusal:
        edited(settings, two_groups(), subject="{a}", greeting="{b}")
    assert [error.field for error in refusal.value.errors] == ["subject", "greeting"]
