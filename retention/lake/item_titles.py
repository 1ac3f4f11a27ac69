"""Make item titles readable, by rules and by people; the data keeps the originals."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.engine import reading_connection
from retention.db.insert import insert_missing
from retention.db.tables import ItemTitle
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.lake import Lake

MAX_TITLE = 120  # characters
SOLD_DAYS = 365
BATCH = 1_000  # rows of a statement

_SMALL_WORDS = frozenset(
    {"a", "an", "and", "at", "by", "for", "in", "of", "on", "or", "the", "with"}
)
_ACRONYMS = frozenset(
    {"BBQ", "CD", "DVD", "DIY", "HD", "LED", "PC", "SPF", "TV", "UHT", "UK", "USB"}
)
# Several pack sizes in one code: 12/18&15PK, 6/4 CT.
_PACK_CODE = re.compile(r"\(?\b\d+(?:pk)?(?:\s*[/&]\s*\d+(?:pk|ct|oz)?)+\b\.?\)?", re.IGNORECASE)
_SIZE = re.compile(
    r"\b(\d+(?:[.,]\d+)?)\s?(OZ|LBS?|G|GR|KG|MG|ML|CL|L|LT|CM|MM|IN|FT|YD|CT|PK|PC|GAL?|QT|PT|DZ)\b"
)
# What cash registers shorten.
_SHORT_FORMS = {
    "can catfd": "canned cat food",
    "can dogfd": "canned dog food",
    "can carb": "cans",
    "can car": "cans",
    "btl carb": "bottle",
    "btl": "bottle",
    "catfd": "cat food",
    "chix": "chicken",
    "choc": "chocolate",
    "conc": "concentrate",
    "containr": "container",
    "crmd": "creamed",
    "dnrs": "dinners",
    "dogfd": "dog food",
    "dps": "dips",
    "drnk": "drink",
    "fd": "food",
    "frzn": "frozen",
    "gngr": "ginger",
    "jce": "juice",
    "lnchmt": "lunch meat",
    "misc": "miscellaneous",
    "mlt-pk": "multi-pack",
    "ppk": "prepacked",
    "prem": "premium",
    "prep fd": "prepared food",
    "preportnd": "pre-portioned",
    "preslc": "presliced",
    "prpck": "prepacked",
    "prslc": "presliced",
    "refrig": "refrigerated",
    "rts": "ready-to-serve",
    "saus": "sausage",
    "sft": "soft",
    "sgl": "single",
    "sngl": "single",
    "srv": "serve",
    "sup prem": "super premium",
    "super prem": "super premium",
    "sw gds": "sweet goods",
    "vac pac": "vacuum-packed",
    "whl": "whole",
    "wtr": "water",
}
# Groups of a till before the product itself: "Prepared food: side dishes (hot)".
_TILL_GROUP = re.compile(r"^(?:prepared food|sweet goods):\s*(?=\S)", re.IGNORECASE)
_LONGEST_FIRST = "|".join(sorted(_SHORT_FORMS, key=len, reverse=True))
_SHORT = re.compile(rf"\b(?:{_LONGEST_FIRST})\b", re.IGNORECASE)
_WITH_DIGIT = re.compile(r"\S*\d\S*")
# Where a blank is missing: Meat:ham, mixers(club soda)flavoured.
_TIGHT = re.compile(r"(?<=[^\W\d]:)(?=[^\W\d])|(?<=\w)(?=\()|(?<=\))(?=\w)")
_LAST_SIZE = re.compile(rf",\s*{_SIZE.pattern}$", re.IGNORECASE)  # a shelf's, such as ", 40 LB"
_UNCLOSED = re.compile(r"\s*\([^(),]*(?=,|$)")  # a title that was cut: "carbonated (ex"
_SEPARATORS = re.compile(r"\s*[_|·•]+\s*|\s+[/\\]+\s+|\s*-{2,}\s*")
_REPEATED = re.compile(r"\b([^\W\d_]{3,})(?:\s+\1\b)+", re.IGNORECASE)
_LOST_SIGNS = re.compile(r"\s+(?=[,;:)])|[\s,;:/&-]+$|^[\s,;:/&-]+")


@lru_cache(maxsize=100_000)
def readable_title(title: str) -> str:
    """Return a title as a person would write it.

    Capitals become title case, pack sizes at the end are left out, short forms are written
    in full, and units are small letters. A title in mixed case keeps its words.

    Examples
    --------
    >>> readable_title("SOFT DRINKS 12/18&15PK CAN CAR"), readable_title("MILK 1% GALLON, 1 GA")
    ('Soft Drinks Cans', 'Milk 1% Gallon')
    >>> readable_title("Kids cereal, 14.5 OZ"), readable_title("Coffee No. 3")
    ('Kids cereal', 'Coffee No. 3')
    >>> readable_title("Prep fd: side dishes (hot), 4 OZ")
    'Side dishes (hot)'
    """
    title = _LAST_SIZE.sub("", title.strip())
    whole = " ".join(_UNCLOSED.sub("", _TIGHT.sub(" ", title)).split())
    words = _WITH_DIGIT.sub("", whole)
    is_shouted = words == words.upper() != words.lower()
    text = " ".join(_LOST_SIGNS.sub("", _PACK_CODE.sub(" ", whole)).split()) or whole
    text = _SIZE.sub(lambda size: f"{size[1]} {size[2].lower()}", _SHORT.sub(_in_full, text))
    product = _TILL_GROUP.sub("", text)
    text = product if product == text else product[0].upper() + product[1:]
    if not is_shouted:
        return text
    parts = text.split(" ")
    return " ".join(_word(part, is_first=number == 0) for number, part in enumerate(parts))


def proposed_title(title: str, brand: str = "") -> str:
    """Return a readable title for a person to accept: `readable_title`, and what may be wrong.

    Separators become blanks, a word is not repeated, and the brand stands there once.

    Examples
    --------
    >>> proposed_title("ACME_GREEN_TEA | ACME", "Acme"), proposed_title("Tea tea &amp; mug 2")
    ('Acme Green Tea', 'Tea & mug 2')
    """
    text = _SEPARATORS.sub(" ", html.unescape(title))
    if brand and text.casefold().count(brand.casefold()) > 1:
        name = re.compile(rf"\b{re.escape(brand)}\b", re.IGNORECASE)
        if first := name.search(text):
            text = text[: first.end()] + name.sub(" ", text[first.end() :])
    return readable_title(_REPEATED.sub(r"\1", " ".join(text.split()))) or title


def own_titles(settings: Settings) -> dict[str, str]:
    """Return the titles that people gave items, by item id; none without an open database."""
    query = select(ItemTitle.item_id, ItemTitle.title).where(ItemTitle.team_id == settings.team_id)
    with reading_connection(settings) as connection:
        return dict(connection.execute(query).tuples().all()) if connection else {}


@dataclass(frozen=True, slots=True)
class ProposedTitle:
    """A readable title for an item, and the title of the data."""

    item_id: str
    title: str
    proposed: str
    sold: int  # purchases of the last year


def proposed_titles(lake: "Lake", before: datetime) -> list[ProposedTitle]:
    """Return titles to accept for items that no person has titled, the most sold first."""
    since, own = before - timedelta(days=SOLD_DAYS), lake.own_titles()
    events = lake.table("events", before=before, since=since)
    sold = events.filter(events.event_type == "purchase").group_by("item_id")
    counts = sold.aggregate(sold=lambda rows: rows.count())
    items = lake.table("items").select("item_id", "title", "brand")
    known = items.filter(items.title.notnull(), items.title != items.item_id)
    rows = known.join(counts, "item_id", how="left").drop("item_id_right").execute()
    rows["sold"] = rows["sold"].fillna(0).astype(int)
    ordered = rows.sort_values(["sold", "item_id"], ascending=[False, True])
    proposals = (
        ProposedTitle(
            row.item_id, row.title, proposed_title(row.title, row.brand or ""), int(row.sold)
        )
        for row in ordered.itertuples()
        if row.item_id not in own
    )
    return [
        one for one in proposals if one.title != one.proposed and len(one.proposed) <= MAX_TITLE
    ]


def set_titles(session: Transaction, titles: Mapping[str, str], by: str) -> None:
    """Store the titles of some items; an empty one takes the item's own back."""
    now, team_id = clock.now(), session.settings.team_id
    for item, title in titles.items():
        if len(title) > MAX_TITLE:
            text = gettext("The title of {item} has {number} characters; write at most {most}.")
            number, most = len(title), MAX_TITLE
            raise BadInput(text.format(item=item, number=number, most=most), field="title")
    ids = list(titles)
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        earlier = delete(ItemTitle).where(ItemTitle.team_id == team_id, ItemTitle.item_id.in_(some))
        session.change(earlier)
        common = {"team_id": team_id, "set_by": by, "set_at": now}
        rows = [{"item_id": item, "title": titles[item], **common} for item in some if titles[item]]
        insert_missing(session, ItemTitle, rows)
    record(session, by, "titles.set", team_id, now, {"items": len(titles)})


def _in_full(short: re.Match[str]) -> str:
    """Return the word for a short form, with the same case."""
    word = _SHORT_FORMS[short[0].lower()]
    if short[0].isupper():
        return word.upper()
    return word.capitalize() if short[0][0].isupper() else word


def _word(word: str, *, is_first: bool) -> str:
    """Return a word of a title in capitals in title case."""
    bare = word.strip("(),.;:")
    if bare in _ACRONYMS or word.islower():
        return word
    if bare.lower() in _SMALL_WORDS and not is_first:
        return word.lower()
    return re.sub(r"[^\W\d_]+('[A-Z]+)?", lambda part: part[0].capitalize(), word)
