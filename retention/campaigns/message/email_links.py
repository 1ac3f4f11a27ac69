"""Make the links of e-mails: products, the discount, and their campaign parameters (UTM)."""

import re
import unicodedata
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from retention.campaigns.message.brand import Brand, Utm, is_web_address

MAX_SLUG = 60  # characters of a campaign's name in its links
_SAFE = ":/?#[]@!$&()*+,;=%~-._"  # signs that have a meaning in a URL


def utm_campaign(name: str, campaign_id: str) -> str:
    """Return what links say of a campaign: its name in small letters, and its id.

    Examples
    --------
    >>> utm_campaign("High & medium risk, 2 Oct 2017", "c989xxj"), utm_campaign("冬季 – Café", "c1")
    ('high-medium-risk-2-oct-2017-c989xxj', '冬季-cafe-c1')
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    slug = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", letters))[:MAX_SLUG].strip("-")
    return f"{slug}-{campaign_id}" if slug else campaign_id


def product_link(brand: Brand, item_id: str, own: str, campaign: str) -> str:
    """Return the link to an item with campaign parameters.

    Returns: empty if neither is known.
    """
    pattern = brand.links.product
    url = web_address(own) or (pattern.format(item_id=quote(item_id, safe="")) if pattern else "")
    return with_utm(url, brand.utm, campaign) if url else ""


def discount_link(brand: Brand, code: str, landing: str, campaign: str) -> str:
    """Return the link that applies a code and opens a page of the shop.

    `landing`: URL of the page to open. If it is of another host, the shop's first page is used.
    Returns: empty if the brand has no pattern.

    Examples
    --------
    >>> from retention.campaigns.message.brand import Brand
    >>> links = {"discount": "https://shop.example/discount/{code}?redirect={redirect}"}
    >>> discount_link(Brand(links=links), "TEA-1", "", "c1")
    'https://shop.example/discount/TEA-1?redirect=%2F%3Futm_source%3Dretention%26utm_medium%3Demail%26utm_campaign%3Dc1'
    """
    pattern = brand.links.discount
    if not pattern:
        return ""
    code = quote(code, safe="")
    if "{redirect}" not in pattern:
        return with_utm(pattern.format(code=code), brand.utm, campaign)
    host = urlsplit(pattern.format(code=code, redirect="")).netloc
    page = urlsplit(landing)
    path = urlunsplit(("", "", page.path or "/", page.query, "")) if page.netloc == host else "/"
    redirect = with_utm(path, brand.utm, campaign)
    return pattern.format(code=code, redirect=quote(redirect, safe=""))


def with_utm(url: str, utm: Utm, campaign: str) -> str:
    """Add campaign parameters to a URL; those that it has stay.

    Examples
    --------
    >>> with_utm("https://shop.example/tea?utm_source=own#top", Utm(), "c1")
    'https://shop.example/tea?utm_source=own&utm_medium=email&utm_campaign=c1#top'
    """
    parts = urlsplit(url)
    present = dict(parse_qsl(parts.query, keep_blank_values=True))
    values = {"utm_source": utm.source, "utm_medium": utm.medium, "utm_campaign": campaign}
    added = urlencode({name: value for name, value in values.items() if name not in present})
    query = "&".join(filter(None, (parts.query, added)))
    return urlunsplit(parts._replace(query=query))


def web_address(value: object) -> str:
    """Return a URL of the shop's data for an e-mail; empty if it is not usable.

    Signs that URLs do not have are encoded. Other schemes than http and https are refused.

    Examples
    --------
    >>> web_address("https://shop.example/grüner tee.png"), web_address("javascript:alert(1)")
    ('https://shop.example/gr%C3%BCner%20tee.png', '')
    """
    if not isinstance(value, str):
        return ""
    url = quote(value.strip(), safe=_SAFE)
    return url if is_web_address(url) else ""
