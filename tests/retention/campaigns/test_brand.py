"""Test the brand file: what it may say, and how a mistake is explained."""

import pytest

from retention.campaigns.message.brand import (
    contrast,
    discount_link,
    lacks_address,
    load_brand,
    product_link,
)
from retention.errors import BadInput
from tests.retention.campaigns.samples import write_home

WHOLE = '''
name = "Tea & Co"
logo = "https://tea.example/logo.png"
website = "https://tea.example"
address = """
1 High Street
London N1 1AA
"""
language = "de"

[colors]
button = "#7a1f3d"

[colors.dark]
card = "#202020"

[links]
product = "https://tea.example/products/{item_id}"
discount = "https://tea.example/discount/{code}?redirect={redirect}"

[utm]
source = "desk"
'''


def test_without_a_file_emails_are_neutral_and_have_the_shops_name(settings):
    brand = load_brand(settings.model_copy(update={"shop": "Tea & Co"}))
    assert (brand.name, brand.logo, brand.address) == ("Tea & Co", "", "")
    assert lacks_address(settings)


def test_whole_file_is_read_and_dark_mode_keeps_the_brands_button(settings):
    write_home(settings, "brand.toml", WHOLE)
    brand = load_brand(settings)
    assert brand.address == "1 High Street, London N1 1AA"
    assert (brand.colors.dark.button, brand.colors.dark.card) == ("#7a1f3d", "#202020")
    assert not lacks_address(settings)


def test_another_path_can_be_set(settings, tmp_path):
    path = tmp_path / "other.toml"
    path.write_text('name = "Other"', encoding="utf-8")
    assert load_brand(settings.model_copy(update={"brand": path})).name == "Other"
    with pytest.raises(BadInput, match=r"missing\.toml cannot be read: No such file"):
        load_brand(settings.model_copy(update={"brand": tmp_path / "missing.toml"}))


def test_changed_file_is_read_again(settings):
    write_home(settings, "brand.toml", 'name = "Tea"')
    assert load_brand(settings).name == "Tea"
    write_home(settings, "brand.toml", 'name = "Coffee"')
    assert load_brand(settings).name == "Coffee"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'reply_to = "service"',
            "reply_to: 'service' is no e-mail address; write it like service@",
        ),
        ('sender_name = "a@b"', "sender_name: 'a@b' is no name of a sender; write it like Ann"),
        ('logo = "logo.png"', "logo: 'logo.png' is no web address; write it like https://"),
        ('website = "javascript:alert(1)"', "website: 'javascript:alert(1)' is no web address"),
        ('[colors]\ntext = "black"', "colors.text: 'black' is no colour; write it like #1d1c1d"),
        (
            '[colors]\nbutton = "#ffff00"',
            "colors: button_text #ffffff on button #ffff00 has a contrast of 1.1, and WCAG AA "
            "needs 4.5; choose a darker or lighter button_text",
        ),
        ('[colors.dark]\ntext = "#333333"', "colors: dark.text #333333 on card #1e1e1e"),
        ('adress = "1 High Street"', "adress: there is no such setting"),
        ('adress = "1 High Street"', "docs/crm/brand.md"),
        ("address = 1", 'address: write text in quotes, like "a" (it says 1)'),
        ("logo_width = 9000", "logo_width: write 520 or less (it says 9000)"),
        (
            '[links]\ndiscount = "https://tea.example/discount"',
            "links.discount: 'https://tea.example/discount' must have {code}, and no other "
            "placeholder than {code}, {redirect}",
        ),
        ('[links]\nproduct = "https://{item_id}.example/"', "has a placeholder in its host"),
        ('[links]\nproduct = "https://t.example/{item_id!r}"', "must have {item_id}"),
        ('[links]\nproduct = "https://t.example/{item_id.x}"', "must have {item_id}"),
        ('[links]\nproduct = "ftp://t.example/{item_id}"', "is no web address"),
        ("name = Tea", "is not valid TOML"),
    ],
)
def test_mistake_is_explained_with_place_value_and_fix(settings, text, problem):
    write_home(settings, "brand.toml", text)
    with pytest.raises(BadInput) as refusal:
        load_brand(settings)
    assert str(settings.home / "brand.toml") in str(refusal.value)
    assert problem in str(refusal.value)


def test_contrast_is_that_of_the_standard():
    assert contrast("#ffffff", "#000000") == 21
    assert round(contrast("#767676", "#ffffff"), 2) == 4.54


@pytest.mark.parametrize(
    ("own", "link"),
    [
        ("", "https://tea.example/products/a%2Fb%20c?utm_source=desk&utm_medium=email"),
        ("https://tea.example/p?x=1", "https://tea.example/p?x=1&utm_source=desk&utm_medium=email"),
        ("javascript:alert(1)", "https://tea.example/products/a%2Fb%20c?utm_source=desk"),
    ],
)
def test_item_link_is_its_own_or_follows_the_pattern(settings, own, link):
    write_home(settings, "brand.toml", WHOLE)
    assert product_link(load_brand(settings), "a/b c", own, "c1").startswith(link)


def test_discount_link_opens_the_items_page_on_the_same_host_only(settings):
    write_home(settings, "brand.toml", WHOLE)
    brand = load_brand(settings)
    link = discount_link(brand, "A B", "https://tea.example/products/1?x=2", "c1")
    assert link.startswith("https://tea.example/discount/A%20B?redirect=%2Fproducts%2F1%3Fx%3D2")
    elsewhere = discount_link(brand, "A", "https://evil.example/x", "c1")
    assert "evil" not in elsewhere
    assert "redirect=%2F%3Futm_source" in elsewhere
