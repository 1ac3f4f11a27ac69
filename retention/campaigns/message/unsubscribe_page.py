"""Render the page behind the link that ends a customer's messages of a channel."""

from retention import templating
from retention.campaigns.message.brand import Brand, load_brand
from retention.campaigns.message.wording import load_wording, shipped_wording
from retention.errors import BadInput
from retention.outreach.adapter import EMAIL, channel_name, is_text
from retention.settings import Settings
from retention.text import DEFAULT, PSEUDO, bracket_html, use_language

MAX_LANGUAGES = 10  # of a browser's wish


def render_page(
    settings: Settings, what: str, accept_language: str = "", channel: str = EMAIL, nonce: str = ""
) -> str:
    """Return the page as HTML, in the brand's colours and the browser's language.

    Customers can unsubscribe although the brand file or a text file cannot be used.

    `what`: ``ask``, ``done``, ``later`` or ``unknown``.
    `accept_language`: the request's header ``Accept-Language``.
    `nonce`: of the answer's Content-Security-Policy, which lets the page have a style.
    """
    try:
        brand = load_brand(settings)
        wording = load_wording(settings, *wanted_languages(accept_language))
    except BadInput:
        brand, wording = Brand(name=settings.shop), shipped_wording()
    page = wording.words.unsubscribe_page
    title, text = str(getattr(page, f"{what}_title")), str(getattr(page, what))
    if is_text(channel) and what in ("ask", "done") and (short := wording.words.sms):
        title = short.ask_title if what == "ask" else title
        text = getattr(short, what).replace("{channel}", channel_name(channel))
    with use_language(DEFAULT):
        html = templating.html(
            "campaigns/unsubscribe.html.j2",
            language=wording.tag,
            direction=wording.direction,
            brand=brand,
            title=title,
            text=text,
            button=page.button if what == "ask" else "",
            nonce=nonce,
        )
    return bracket_html(html) if wording.tag == PSEUDO else html


def wanted_languages(accept_language: str) -> list[str]:
    """Return the languages of a header, the most wanted first.

    Examples
    --------
    >>> wanted_languages("en;q=0.5, de-AT, de;q=0.9, *;q=0.1")
    ['de-AT', 'de', 'en']
    """
    wishes = []
    for part in accept_language.split(",")[:MAX_LANGUAGES]:
        tag, _, weight = part.partition(";")
        try:
            share = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if tag.strip() not in ("", "*"):
            wishes.append((share, tag.strip()))
    return [tag for _, tag in sorted(wishes, key=lambda wish: -wish[0])]
