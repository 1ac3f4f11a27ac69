"""Test the languages of e-mails."""

from datetime import UTC, datetime

import pytest

from retention.campaigns.message.email_content import email_content
from retention.campaigns.message.wording import (
    default_text,
    load_wording,
    own_languages,
    shipped_languages,
)
from retention.errors import BadInput
from retention.outreach.adapter import Contact
from tests.retention.campaigns.samples import a_body, write_home

COUPON = {
    "action": "coupon",
    "discount": 0.125,
    "min_order": 1234.5,
    "currency": "EUR",
    "items": [{"item_id": "i", "title": "Tea"}, {"item_id": "j", "title": "Mug"}],
}
ROW = {"offer": COUPON, "code": "TEA-7F3A", "expires_at": datetime(2025, 5, 29, 12, tzinfo=UTC)}
# A language that we do not ship, made up in part: Arabic has all six plural forms of CLDR.
ARABIC = """
[subject]
coupon = "خصم {discount}"
free_shipping = "شحن مجاني"
new_arrivals = "جديد"
reminder = "مختار لك"
with_shop = "{subject} من {shop}"
[text]
coupon = "مرحبا {name}\\n\\nخصم {discount} حتى {expires}\\n\\nمختار لك: {items}"
free_shipping = "مرحبا"
new_arrivals = "مرحبا"
reminder = "مرحبا {items}"
call = "مرحبا"
[offer]
free_shipping = "شحن مجاني"
only = " (فقط {category})"
from = " (من {amount})"
coupon_line = "{discount}{conditions} {expires}"
free_shipping_line = "{discount}{conditions} {expires}"
[button]
use_code = "استخدم"
visit = "المتجر"
[items.preview]
zero = "0"
one = "1"
two = "2"
few = "few {count}"
many = "many {count}"
other = "other {count}"
[footer]
agreed = "{shop}"
bought = "{shop}"
we = "نحن"
unsubscribe = "إلغاء"
[unsubscribe_page]
ask_title = "إلغاء؟"
ask = "لن نرسل"
button = "إلغاء"
done_title = "تم"
done = "تم"
later_title = "خطأ"
later = "حاول"
unknown_title = "خطأ"
unknown = "خطأ"
"""


def content(settings, locale, **changes):
    body = a_body(copy_text=changes.pop("copy_text", default_text()))
    return email_content(settings, body, {**ROW, **changes}, Contact(name="Ann", locale=locale))


@pytest.mark.parametrize(
    ("locale", "line"),
    [
        ("", "12.5% off (from €1,234.50 on), once, until 29 May 2025"),
        ("en-US", "12.5% off (from €1,234.50 on), once, until May 29, 2025"),
        ("de_AT", "12,5 % Rabatt (ab € 1.234,50), einmalig, bis 29. Mai 2025"),
        ("fr-FR", "12,5 % de réduction (dès 1 234,50 €), une seule fois, jusqu’au 29 mai 2025"),
        ("es", "12,5 % de descuento (a partir de 1.234,50 €), una sola vez, hasta el 29 may 2025"),
        ("zh-CN", "减 12.5%（满 €1,234.50），限用一次，有效期至 2025年5月29日"),
        ("sw-KE", "12.5% off (from €1,234.50 on), once, until 29 May 2025"),
        ("not a locale", "12.5% off (from €1,234.50 on), once, until 29 May 2025"),
        ("de-QQQQ", "12,5 % Rabatt (ab 1.234,50 €), einmalig, bis 29. Mai 2025"),
    ],
)
def test_email_speaks_the_customers_language_and_writes_its_numbers(settings, locale, line):
    shown = content(settings, locale).code_line
    assert shown.translate({0xA0: " ", 0x202F: " "}) == line


def test_every_shipped_language_has_every_text(settings):
    assert shipped_languages() == ("de", "en", "es", "fr", "zh")
    for name in shipped_languages():
        words = load_wording(settings, name).words
        for action in ("coupon", "free_shipping"):
            text = getattr(words.text, action)
            assert "{code}" in text
            assert "{expires}" in text
        assert all(text.endswith("{items}") for text in words.text.model_dump().values())


def test_text_that_a_person_wrote_keeps_the_whole_email_in_the_shops_language(settings):
    written = content(settings, "de", copy_text="Hello {name}, our tea: {items}")
    assert written.text == "Hello Ann, our tea: Tea; Mug"
    assert written.unsubscribe == "Unsubscribe"
    assert written.language == "en"


@pytest.mark.parametrize(
    ("locale", "day"), [("en-US", "May 29, 2025"), ("en-GB", "29 May 2025"), ("de", "29 May 2025")]
)
def test_dates_in_own_text_are_written_as_in_the_line_below(settings, locale, day):
    """Own text said "31 Oct 2017" where the code's own line said "Oct 31, 2017"."""
    shown = content(settings, locale, copy_text="{code} until {expires}")
    assert shown.text.endswith(f"until {day}")
    assert shown.code_line.endswith(f"until {day}")


def test_brand_sets_the_language_of_customers_without_a_locale(settings):
    write_home(settings, "brand.toml", 'language = "de"')
    assert content(settings, "").unsubscribe == "Abbestellen"
    assert content(settings, "fr").unsubscribe == "Se désinscrire"
    assert default_text("coupon", settings).startswith("Guten Tag {name}")
    write_home(settings, "brand.toml", 'language = "nl"')
    with pytest.raises(BadInput, match="'nl', for which there are no texts; use one of de, en"):
        content(settings, "")


def test_text_of_a_shipped_language_counts_as_unchanged_after_a_change_of_language(settings):
    """The text was stored when the campaign was drafted."""
    english = default_text()
    write_home(settings, "brand.toml", 'language = "de"')
    assert content(settings, "", copy_text=english).text.startswith("Guten Tag Ann")


def test_shop_changes_one_line_of_a_shipped_language(settings):
    write_home(settings, "email_text/de.toml", '[footer]\nunsubscribe = "Keine E-Mails mehr"')
    shown = content(settings, "de-CH")
    assert shown.unsubscribe == "Keine E-Mails mehr"
    assert shown.text.startswith("Guten Tag Ann")
    assert own_languages(settings) == ("de",)


def test_shop_adds_a_language_that_runs_from_right_to_left(settings):
    write_home(settings, "email_text/ar.toml", ARABIC)
    shown = content(settings, "ar-EG")
    assert (shown.direction, shown.language) == ("rtl", "ar-EG")
    assert shown.paragraphs[0] == "مرحبا Ann"


@pytest.mark.parametrize(
    ("number", "form"),
    [(0, "0"), (1, "1"), (2, "2"), (5, "few 5"), (11, "many 11"), (100, "other 100")],
)
def test_plural_forms_follow_the_language(settings, number, form):
    write_home(settings, "email_text/ar.toml", ARABIC)
    assert load_wording(settings, "ar").items_preview(number) == form
    english = "item" if number == 1 else "items"
    shown = load_wording(settings, "en").items_preview(number)
    assert shown == f"{number} {english} picked for you"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("de", '[footer]\nunsubscribe = ""', "footer.unsubscribe: write 1 or more characters"),
        ("de", '[subject]\ncoupon = "{discont}"', "subject.coupon: {discont} means nothing here"),
        ("de", '[offer]\nonly = "{amount}"', "offer.only: {amount} means nothing here; use {cat"),
        ("de", '[items]\npreview = {one = "x"}', 'items.preview: the form "other" is missing'),
        ("de", "[footer", "de.toml cannot be used"),
        ("nl", '[footer]\nwe = "Wij"', "subject: this is missing; write it"),
        ("tlh", ARABIC, "Unicode CLDR does not know"),
    ],
)
def test_mistake_in_an_own_file_is_explained(settings, name, text, problem):
    write_home(settings, f"email_text/{name}.toml", text)
    with pytest.raises(BadInput) as refusal:
        own_languages(settings)
    assert problem in str(refusal.value)
    assert f"{name}.toml" in str(refusal.value)
