"""Test which name greets a customer, and which text a late customer gets."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from retention import clock
from retention.campaigns.message.email_content import email_content
from retention.campaigns.message.greeting import greeting_name
from retention.campaigns.message.merged_message import LONG_SILENCE
from retention.campaigns.message.wording import default_text
from retention.campaigns.planning.audience import silent_days
from retention.lake import Lake
from retention.outreach.adapter import Contact
from tests.retention.campaigns.samples import a_body, write_home
from tests.shop import import_frame, purchases

NOW = datetime(2025, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "language", "greeted"),
    [
        ("Ruth Reyes", "en-US", "Ruth"),
        ("  Ruth   Anne Reyes ", "en", "Ruth"),
        ("Reyes, Ruth", "en", "Ruth"),
        ("Reyes, Ruth M.", "es", "Ruth"),
        ("Ruth Reyes, PhD", "en", "Ruth"),
        ("Ruth Reyes Jr.", "en", "Ruth"),
        ("Dr. Ruth Reyes", "en", "Ruth"),
        ("Prof. Dr. Ruth Reyes", "en", "Ruth"),
        ("RUTH REYES", "en", "Ruth"),
        ("ruth reyes", "en", "Ruth"),
        ("Jean-Pierre Léaud", "fr", "Jean-Pierre"),
        ("María da Silva", "pt", "María"),
        # the whole name, where the given one cannot be told
        ("Ruth", "en", "Ruth"),
        ("Mr Reyes", "en", "Mr Reyes"),
        ("R. Reyes", "en", "R. Reyes"),
        ("J.R. Reyes", "en", "J.R. Reyes"),
        ("van Gogh", "nl", "van Gogh"),
        ("Abdul Rahman", "en", "Abdul Rahman"),
        ("Ana and Luis Ruiz", "en", "Ana and Luis Ruiz"),
        ("Tea & Co. Ltd", "en", "Tea & Co. Ltd"),
        ("Bäckerei Huber GmbH", "en", "Bäckerei Huber GmbH"),
        ("Household 1907", "en", "Household 1907"),
        ("山田 太郎", "en", "山田 太郎"),
        ("王小明", "zh-CN", "王小明"),
        ("Nagy Anna", "hu", "Nagy Anna"),
        ("…", "en", "…"),
        ("", "en", ""),
        (",", "en", ","),
    ],
)
def test_greeting_has_the_given_name_where_it_can_be_told(name, language, greeted):
    assert greeting_name(name, language) == greeted


def _email(settings, locale, **terms):
    items = [{"item_id": "1", "title": "Tea"}]
    terms = {"action": "coupon", "discount": 0.1, "items": items, **terms}
    offer = {"offer": terms, "code": "7KQ2-M9ZD-4HT6", "expires_at": NOW}
    body = a_body(copy_text=default_text())
    return email_content(settings, body, offer, Contact(name="Ruth Reyes", locale=locale))


@pytest.mark.parametrize(
    ("locale", "greeting"),
    [("en-US", "Hello Ruth,"), ("de", "Guten Tag Ruth Reyes,"), ("zh", "您好 Ruth Reyes，")],
)
def test_each_language_greets_in_its_own_way(settings, locale, greeting):
    assert _email(settings, locale).paragraphs[0] == greeting


@pytest.mark.parametrize("action", ["coupon", "free_shipping", "reminder"])
@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en", "it has been a while"),
        ("de", "lange nichts"),
        ("fr", "un moment"),
        ("es", "hace tiempo"),
        ("zh", "好久不见"),
    ],
)
def test_only_a_long_silence_is_called_a_while(settings, locale, words, action):
    late = _email(settings, locale, action=action, silent_days=LONG_SILENCE - 1).text
    silent = _email(settings, locale, action=action, silent_days=LONG_SILENCE).text
    old_campaign = _email(settings, locale, action=action).text
    assert words not in late
    assert words in silent == old_campaign


def test_text_of_the_shop_goes_to_late_customers_too(settings):
    own = '[text]\ncoupon = "Dear {name}, our code: {code}"'
    write_home(settings, "email_text/en.toml", own)
    assert _email(settings, "en", silent_days=3).text.startswith("Dear Ruth, our code")


def test_silence_is_counted_from_the_last_order(settings, database):
    moments = (("a", "2025-04-01T18"), ("a", "2025-04-20T18"), ("b", "2025-04-30T18"))
    lake = Lake.open(settings)
    rows = [purchases(pd.Timestamp(at, tz="UTC"), [customer]) for customer, at in moments]
    with clock.frozen(NOW):
        import_frame(lake, database, pd.concat(rows))
    assert silent_days(lake, ["a", "b", "c"], NOW) == {"a": 10, "b": 0}
