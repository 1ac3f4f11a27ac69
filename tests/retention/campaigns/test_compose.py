"""A customer's copy, of a catalogue as shops have them."""

from datetime import UTC, datetime, timedelta

import pytest

from retention.campaigns.message.customer_message import compose_message, render_html
from retention.campaigns.message.email_content import MAX_TITLE, email_content, placeholder_values
from retention.campaigns.message.preview import masked_messages, preview_messages, send_time
from retention.campaigns.message.wording import default_text
from retention.db.tables import Campaign, Send
from retention.outreach.adapter import Contact
from tests.retention.campaigns.samples import a_body, a_line

NOW = datetime(2025, 5, 1, 12, tzinfo=UTC)
CODE = "7KQ2-M9ZD-4HT6"
ANN = Contact("a@b.example", "Ann")


def row(action="reminder", *titles, code=None, expires_at=None, **terms):
    """A recipient's row."""
    items = [{"item_id": "i", "title": title} for title in titles]
    offer = {"action": action, "discount": 0.0, "items": items, **terms}
    return {"customer_id": "k", "offer": offer, "code": code, "expires_at": expires_at}


def composed(settings, offer, body=None, contact=ANN):
    send = Send(id=5, campaign_id="c1", customer_id="k")
    return compose_message(settings, body or a_body(), send, contact, offer, "https://x.example/u")


def test_long_titles_are_shortened_and_do_not_widen_the_email(settings):
    """A wide e-mail hides the code on a telephone."""
    titles = ["Very long title " * 25, "WithoutAnyBreak" * 20, "Tea <b>"]
    message = composed(settings, row("reminder", *titles))
    assert message.html.count("Very long title") == MAX_TITLE // len("Very long title ")
    assert titles[1] not in message.text
    assert "Tea <b>" in message.text
    assert "Tea &lt;b&gt;" in message.html
    assert "word-break:break-word" in message.html


def test_values_with_direction_marks_do_not_reverse_the_text(settings):
    offer, name = row("reminder", "Tea \u202eevil \u2067x"), "A\u202dnn"
    message = composed(settings, offer, contact=Contact("a@b.example", name))
    # A platform writes them into texts of its own
    titles = [item["title"] for item in message.offer["items"]]
    placeholders = placeholder_values(settings, name, offer)  # as do the files
    for text in (message.subject, message.text, message.html, *titles, *placeholders.values()):
        assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert "Tea evil x" in message.text


def test_items_without_a_title_are_not_shown_by_id(settings):
    items = [{"item_id": "5978656", "title": "5978656"}, {"item_id": "i2", "title": "Tea"}]
    offer = row(items=items)
    message = composed(settings, offer)
    assert "5978656" not in message.subject + message.text + message.html
    assert placeholder_values(settings, "Ann", offer)["items"] == "Tea"
    # A platform knows its own ids
    assert [item["item_id"] for item in message.offer["items"]] == ["5978656", "i2"]
    untitled = placeholder_values(settings, "Ann", row(items=items[:1]))
    assert untitled["items"] == "5978656"


@pytest.mark.parametrize(
    ("copy", "told"), [("Hello {name}", True), ("Hello {name}: {code}", False)]
)
def test_email_text_contains_the_code_once(settings, copy, told):
    """Readers of the plain text need the code, too."""
    expires_at = datetime(2025, 5, 29, 9, tzinfo=UTC)
    offer = row("coupon", discount=0.15, code=CODE, expires_at=expires_at)
    message = composed(settings, offer, a_body(copy_text=copy))
    assert message.text.count(CODE) == 1
    assert ("15% off, once, until 29 May 2025" in message.text) == told


@pytest.mark.parametrize(
    "text",
    [
        "Hello {name}, tea for you with {code}: {items}",  # one line: it stood below the code
        "Hello {name},\nhere is your code.\n{items}",
        "Hello {name}",
    ],
)
def test_code_is_below_the_text(settings, text):
    offer = row("coupon", "Tea", discount=0.1, code=CODE, expires_at=NOW)
    content = email_content(settings, a_body(copy_text=text), offer, ANN)
    assert content.paragraphs[0].startswith("Hello Ann")
    html = render_html(content)
    assert html.index("Hello Ann") < html.index("letter-spacing:2px")


@pytest.mark.parametrize(("source", "new"), [("new", True), ("repeat", False)])
def test_only_new_items_are_presented_as_new(settings, source, new):
    """Customers without a new arrival get recommended items."""
    offer = row("new_arrivals", items=[{"item_id": "i", "title": "Milk", "source": source}])
    for text, own in ((default_text("new_arrivals"), False), ("Look at {items}!", True)):
        line = a_line(action="new_arrivals", discount=0.0)
        body = a_body(offers=(line,), copy_text=text)
        message = composed(settings, offer, body)
        (shown,) = preview_messages(settings, body, [offer], {"k": ANN}, NOW)
        assert ("new" in message.subject.lower()) is new
        assert ("something new" in message.text) is (new and not own)
        assert ("Look at Milk!" in message.text) is own
        assert shown["subject"] == message.subject
        assert shown["text"] in message.text


def test_preview_shows_a_call_script_and_not_an_email(settings):
    ann = Contact("a@b.example", "Ann", phone="+44 20 7946 0000")
    (full,) = preview_messages(settings, a_body(), [row("call")], {"k": ann}, NOW)
    assert (full["kind"], full["to"], full["subject"]) == ("call", "+44 20 7946 0000", "")
    assert full["text"].startswith("Ask Ann how we did")
    (masked,) = masked_messages(settings, a_body(), [row("call")], NOW)
    assert (masked["kind"], masked["to"]) == ("call", "…")


@pytest.mark.parametrize("masked", [False, True])
def test_preview_shows_the_last_day_of_a_code_that_is_not_issued(settings, masked):
    """It read "until 28 days after sending" in the place of a date."""
    rows = [row("coupon", discount=0.15)]
    body = a_body(expires_days=28, copy_text="{code} until {expires}")
    (shown,) = (
        masked_messages(settings, body, rows, NOW)
        if masked
        else preview_messages(settings, body, rows, {}, NOW)
    )
    assert shown["text"] == "XXXX-XXXX-XXXX until 29 May 2025"


def test_preview_of_issued_codes_shows_their_own_last_day(settings):
    expires_at = datetime(2025, 6, 3, 23, 59, 59, tzinfo=UTC)
    issued = row("coupon", discount=0.15, code=CODE, expires_at=expires_at)
    body = a_body(copy_text="{code} until {expires}")
    (shown,) = preview_messages(settings, body, [issued], {}, NOW)
    assert shown["text"] == f"{CODE} until 3 Jun 2025"


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ({}, NOW + timedelta(hours=4)),
        ({"body": {"send_on": NOW + timedelta(days=3)}}, NOW + timedelta(days=3)),
        ({"send_at": NOW + timedelta(days=1)}, NOW + timedelta(days=1)),
        ({"send_at": NOW, "sent_at": NOW - timedelta(days=2)}, NOW - timedelta(days=2)),
    ],
    ids=["draft", "not before", "scheduled", "sent"],
)
def test_send_time_is_the_known_or_the_earliest(values, sent):
    body = a_body(**values.pop("body", {})).model_dump(mode="json")
    assert send_time(Campaign(body=body, **values), NOW) == sent


@pytest.mark.parametrize(
    ("consent", "agreed"), [(["given"], True), (["given", "unknown"], False), (None, True)]
)
def test_email_mentions_consent_only_if_the_rule_requires_it(settings, consent, agreed):
    # An offer from before it was kept has none
    message = composed(settings, row() if consent is None else row(consent=consent))
    for text in (message.text, message.html):
        assert ("because you agreed to hear from us." in text) is agreed
        assert ("because you have shopped with us." in text) is not agreed


def test_platform_sees_no_amount_for_free_shipping(settings):
    terms = {"amount": 5.0, "min_order": 50.0, "currency": "EUR"}
    message = composed(settings, row("free_shipping", code=CODE, expires_at=NOW, **terms))
    public = {"action": "free_shipping", "amount": 0.0, "min_order": 50.0}
    assert message.offer.items() >= public.items()
    assert "5.00" not in message.text.replace("€50.00", "")
    assert "free shipping (from €50.00 on)" in message.text
