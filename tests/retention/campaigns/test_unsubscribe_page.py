"""Test the page behind the link that ends a customer's e-mails."""

import pytest

from retention.campaigns.message.unsubscribe_page import render_page
from tests.retention.campaigns.email_samples import write_brand
from tests.retention.campaigns.samples import write_home


@pytest.mark.parametrize(
    ("header", "language", "title"),
    [
        ("", "en", "No more offers by e-mail?"),
        ("de-AT,de;q=0.9,en;q=0.8", "de-AT", "Keine Angebote mehr per E-Mail?"),
        ("sw, fr;q=0.4, en;q=0.2", "fr", "Ne plus recevoir d’offres par e-mail ?"),
        ("*, ;q=x, <b>, de;q=high", "en", "No more offers by e-mail?"),
    ],
)
def test_page_speaks_the_browsers_language(settings, header, language, title):
    page = render_page(settings, "ask", header)
    assert f'<html lang="{language}" dir="ltr">' in page
    assert f"<h1>{title}</h1>" in page
    assert '<form method="post">' in page


def test_page_has_the_brand_and_the_direction_of_the_language(settings):
    write_brand(settings, "https://tea.example")
    page = render_page(settings, "done", "ar")
    assert 'dir="rtl"' in page
    assert "Leaf &amp; Kettle" in page
    assert "background: #7a1f3d" in page
    assert "<form" not in page


def test_page_works_although_the_brand_file_cannot_be_used(settings):
    write_home(settings, "brand.toml", "logo = 5")
    assert "You are unsubscribed" in render_page(settings, "done", "de")
