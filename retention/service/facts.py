"""Read what answers may quote: policies, products, and a customer's own orders and codes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from sqlalchemy import select

from retention.campaigns.codes.coupons import OF_CUSTOMER
from retention.campaigns.message.brand import web_address
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, Coupon
from retention.errors import BadInput
from retention.lake.schema import ITEMS
from retention.lake.storage import delta_store
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_ORDERS = 20
MAX_PRODUCTS = 200_000
MAX_BYTES = 200_000  # of a file; a longer one is no policy
MAX_QUOTE = 600  # characters of a section that an answer quotes
_PART = re.compile("^(?=#{1,6} )", re.MULTILINE)  # begins with its heading
_URL = re.compile(r"\A\s*(?:url|link):\s*(https?://\S+)", re.IGNORECASE)
_MARKS = re.compile(r"\*\*|__|`|^---$|\[(?P<words>[^\]]+)\]\([^)]*\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a policy. ``ref`` identifies it; ``subject``: the file without its language."""

    ref: str
    subject: str
    title: str  # of the policy and of the part
    text: str
    language: str
    url: str  # may be empty

    @property
    def quote(self) -> str:
        """The text, cut at the end of a sentence."""
        if len(self.text) <= MAX_QUOTE:
            return self.text
        cut = self.text[:MAX_QUOTE]
        end = max(cut.rfind(sign) for sign in (". ", "。", "\n"))
        return f"{cut[: end + 1] if end > MAX_QUOTE // 3 else cut} …"


class Product(NamedTuple):
    """A row of the catalogue as it is stored; None where the shop says nothing."""

    item_id: str
    title: str
    price: float | None
    in_stock: bool | None
    url: str
    details: tuple[str, ...]
    text: str  # that a search reads


class Line(NamedTuple):
    """A line of an order. ``title``: the product's, else its id."""

    title: str
    quantity: float | None
    amount: float | None


class Order(NamedTuple):
    """An order of the customer."""

    order_id: str | None
    at: datetime
    lines: tuple[Line, ...]
    amount: float | None
    is_returned: bool = False


class Code(NamedTuple):
    """A valid code of the customer, of a campaign that was approved and sent."""

    code: str
    discount: float | None  # a share; None for another offer
    last_day: datetime


# ---------------------------------------------------------------- policies


def policy_files(folder: Path | None) -> list[Path]:
    """Return the Markdown files of the folder.

    Raises `BadInput`: there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        text = gettext("RETENTION_SERVICE_POLICIES is {folder!r}, which is no folder; name one")
        raise BadInput(text.format(folder=str(folder)))
    files = sorted(folder.glob("*.md")) if folder else []
    return [file for file in files if file.stem.lower() != "readme"]


def policies(folder: Path | None) -> list[Section]:
    """Return the sections of all policies of a folder, in the order of the files."""
    return [section for file in policy_files(folder) for section in _sections(file)]


def _sections(file: Path) -> list[Section]:
    """Split a policy at its headings; ``url: https://…`` before them is its address."""
    try:
        content = file.read_bytes()[:MAX_BYTES].decode("utf-8")
    except (OSError, UnicodeDecodeError):
        sentence = gettext("The policy {file} cannot be read; save it as UTF-8 text")
        raise BadInput(sentence.format(file=file.name)) from None
    subject, _, language = file.stem.partition(".")
    address = _URL.match(content)
    top, sections = "", list[Section]()
    for part in _PART.split(_URL.sub("", content)):
        first, _, text = part.partition("\n") if part.startswith("#") else ("", "", part)
        text = _MARKS.sub(lambda match: match["words"] or "", text).strip()
        heading, is_top = first.strip("# ") or file.stem, not first.startswith("##")
        title = heading if is_top or not top else f"{top} – {heading}"
        top = heading if is_top and first else top
        ref, url = f"policy:{file.stem}#{heading}", address[1] if address else ""
        sections.append(Section(ref, subject, title, text, language.lower() or "en", url))
    return [section for section in sections if section.text]


# ---------------------------------------------------------------- the catalogue


def catalogue_state(lake: "Lake") -> str:
    """Return what changes with the catalogue."""
    return delta_store.newest_commit(lake.root, ITEMS)


def products(lake: "Lake") -> list[Product]:
    """Return the catalogue's products that have a title."""
    items = lake.table("items")
    frame = items.filter(items.title.notnull()).order_by("item_id").limit(MAX_PRODUCTS).execute()
    return [product_of(row) for row in frame.to_dict("records")]


def product_of(row: Mapping[str, Any]) -> Product:
    """Read a row of the catalogue."""
    known = {name: value for name, value in row.items() if pd.notna(value)}
    try:
        attributes = dict(json.loads(known.get("attributes") or "{}"))
    except (ValueError, TypeError):
        attributes = {}
    url = web_address(attributes.pop("url", ""))
    attributes.pop("recommendable", None)
    details = [
        f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in attributes.items()
        if value not in ("", None)
    ]
    title = str(known["title"])
    searched = (title, known.get("brand"), known.get("category"), *details)
    return Product(
        str(known["item_id"]),
        title,
        known.get("price"),
        bool(known["in_stock"]) if "in_stock" in known else None,
        url,
        tuple(details),
        "; ".join(part for part in searched if part),
    )


# ---------------------------------------------------------------- the customer's own


def orders(lake: "Lake", customer: str, before: datetime) -> list[Order]:
    """Return the newest orders of a canonical id, newest first."""
    events, items = lake.table("events", before=before), lake.table("items")
    columns = ("order_id", "occurred_at", "event_type", "item_id", "quantity", "amount")
    own = events.filter(events.customer_id == customer).select(*columns)
    rows = own.filter(own.event_type.isin(["purchase", "return"])).execute()
    named = items.filter(items.item_id.isin(list(rows.item_id.dropna().unique())))
    titles = dict(named.select("item_id", "title").execute().itertuples(index=False))
    return orders_of(rows, titles)


def orders_of(rows: pd.DataFrame, titles: Mapping[str, str]) -> list[Order]:
    """Return a customer's newest orders from their purchases and returns, newest first."""
    title, day = rows.item_id.map(titles).fillna(rows.item_id), rows.occurred_at.dt.strftime("%F")
    rows = rows.assign(title=title, key=rows.order_id.astype(object).fillna(day))
    rows = rows.astype(object).where(rows.notna(), None)
    is_bought = rows.event_type == "purchase"
    returned, found = set(rows.key[~is_bought]), []
    for key, own in rows[is_bought].groupby("key", sort=False):
        columns = zip(own.title, own.quantity, own.amount, strict=True)
        lines = tuple(Line(*line) for line in columns if line[0] is not None)
        amounts = [amount for amount in own.amount if amount is not None]
        at = own.occurred_at.max().to_pydatetime().replace(tzinfo=UTC)
        total = sum(amounts) if amounts else None
        found.append(Order(own.order_id.iloc[0], at, lines, total, key in returned))
    return sorted(found, key=lambda order: order.at, reverse=True)[:MAX_ORDERS]


def codes(session: Transaction, ids: Sequence[str], now: datetime) -> list[Code]:
    """Return a customer's valid codes, of campaigns that were approved and sent."""
    rows = session.execute(
        select(Coupon.code, Assignment.offer, Coupon.expires_at)
        .join(Campaign, Campaign.id == Coupon.campaign_id)
        .outerjoin(Assignment, OF_CUSTOMER)
        .where(
            Coupon.team_id == session.settings.team_id,
            Coupon.customer_id.in_(ids),
            Coupon.state == "issued",
            Coupon.expires_at > now,
            Campaign.sent_at.is_not(None),
        )
        .order_by(Coupon.expires_at)
    )
    return [Code(code, (offer or {}).get("discount"), day) for code, offer, day in rows]
