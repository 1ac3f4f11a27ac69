"""Test how e-mails are laid out: links, size, escaping, and how a browser shows them."""

import re
import urllib.request
from html.parser import HTMLParser
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from retention.outreach.smtp import Address, build_email
from tests.axe import barriers
from tests.retention.campaigns.email_samples import KINDS, UNSUBSCRIBE, sample_email
from tests.standins.shop_pages import stand_in_shop

SHOP = "https://tea.example"
MAX_BYTES = 100_000  # Gmail cuts what is larger
SCHEMES = ("light", "dark")
WIDTHS = (375, 700)


class Links(HTMLParser):
    """Collects what an e-mail links to and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.links.append(values.get("href") or "")
        if tag in ("img", "script", "link"):
            self.sources.append(values.get("src") or values.get("href") or "")


def read_links(html: str) -> Links:
    reader = Links()
    reader.feed(html)
    return reader


def test_all_links_resolve_and_carry_the_campaign(settings):
    with stand_in_shop() as shop:
        email = sample_email(settings, KINDS["coupon"], shop)
        found = read_links(email.html)
        for url in {*found.links, *found.sources}:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200, url
                end = answer.url
            if "/discount/" in url:
                assert urlsplit(end).path == "/products/i0"
            if url in found.links and UNSUBSCRIBE not in url:
                assert parse_qs(urlsplit(end).query)["utm_campaign"] == ["c1"]
    text_links = re.findall(r"https?://\S+", email.text)
    assert {*text_links} <= {*found.links}
    assert len(text_links) == 5  # the button, three items, and the link to unsubscribe


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_loaded_from_elsewhere(settings, name):
    """A font or a style sheet of another host would tell it who reads the e-mail."""
    html = sample_email(settings, KINDS[name], SHOP).html
    hosts = {urlsplit(url).netloc for url in re.findall(r"(?:https?:)?//[^\s\"'<>)]+", html)}
    assert hosts <= {"tea.example", "www.w3.org"}
    assert "<script" not in html
    assert "@import" not in html


@pytest.mark.parametrize("name", KINDS)
def test_text_has_the_same_content_as_the_html(settings, name):
    kind = KINDS[name]
    email = sample_email(settings, kind, SHOP)
    if kind.action != "reminder":
        assert email.text.count("TEA-7F3A-K2P9") >= 1
        assert "TEA-7F3A-K2P9" in email.html
    for title in ("Darjeeling First Flush, 100 g", "Oolong sampler"):
        assert title in email.text
        assert title in email.html
    for url in read_links(email.html).links:
        if "utm_content" not in url and url not in (f"{SHOP}{UNSUBSCRIBE}",):
            assert urlsplit(url).path in unquote(email.text) or urlsplit(url).path == "", url
    if kind.has_brand:
        assert "1 High Street" in email.text
        assert "1 High Street" in email.html
    assert UNSUBSCRIBE in email.text


def test_largest_email_is_below_the_size_that_gmail_cuts(settings):
    email = sample_email(settings, KINDS["chinese"], SHOP, items=10)
    source = build_email(email, Address("Tea", "offers", "tea.example")).as_bytes()
    assert len(email.html.encode()) < MAX_BYTES
    assert len(source) < MAX_BYTES


def test_values_are_escaped_and_cannot_add_markup(settings):
    html = sample_email(settings, KINDS["coupon"], SHOP).html
    assert "Stoneware mug &lt;blue&gt; &amp; saucer" in html
    assert "<blue>" not in html
    assert "Leaf &amp; Kettle" in html


@pytest.mark.parametrize(
    "title",
    [
        "</mj-text><mj-raw><script>alert(1)</script></mj-raw>",
        "<!-- ",
        "]]>",
        "{{ 7 * 7 }} {% raw %}",
        '" onload="alert(1)',
        "&nbsp;&lt;b&gt; & &#x3c;",
        "\x00\x01\x0b\ufffe\uffff\u2028",
        "--> <![endif]-->",
    ],
)
def test_no_title_breaks_the_layout(settings, monkeypatch, title):
    monkeypatch.setattr("tests.retention.campaigns.email_samples.TITLES", (title,))
    email = sample_email(settings, KINDS["coupon"], SHOP)
    assert "<script" not in email.html
    assert email.html.rstrip().endswith("</html>")
    monkeypatch.setattr("tests.retention.campaigns.email_samples.TITLES", ("Tea",))
    harmless = sample_email(settings, KINDS["coupon"], SHOP)
    assert read_links(email.html).links == read_links(harmless.html).links


def test_language_and_direction_are_in_the_html(settings):
    html = sample_email(settings, KINDS["right_to_left"], SHOP).html
    assert re.search(r"<html[^>]* lang=\"ar-EG\"", html)
    assert re.search(r"<html[^>]* dir=\"rtl\"", html)


@pytest.mark.browser
@pytest.mark.nightly
@pytest.mark.parametrize("name", KINDS)
def test_email_fits_phone_and_desktop_and_is_free_of_barriers(settings, browser, name):
    with stand_in_shop() as shop:
        html = sample_email(settings, KINDS[name], shop).html
        for width in WIDTHS:
            shown = browser.new_page(viewport={"width": width, "height": 900})
            shown.set_content(html)
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            assert barriers(shown) == []
            shown.close()


@pytest.mark.browser
def test_dark_scheme_changes_the_colours(settings, browser):
    html = sample_email(settings, KINDS["coupon"], SHOP).html
    shown = browser.new_page(viewport={"width": 375, "height": 900})
    shown.route("**/*", lambda route: route.abort())
    shown.set_content(html)
    colors = {}
    for scheme in SCHEMES:
        shown.emulate_media(color_scheme=scheme)
        colors[scheme] = shown.evaluate(
            "['.card > table', '.words p'].map(name => document.querySelector(name))"
            ".map((node, at) => getComputedStyle(node)[at ? 'color' : 'backgroundColor'])"
        )
    shown.close()
    assert colors["light"] == ["rgb(255, 255, 255)", "rgb(43, 33, 24)"]
    assert colors["dark"] == ["rgb(30, 30, 30)", "rgb(241, 241, 241)"]
