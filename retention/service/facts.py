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
    url = str(attributes.pop("url", ""))
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
        url if url.startswith(("https://", "http://")) else "",
        tuple(details),
        "; ".join(part for part in searched if part),
    )


# ---------------------------------------------------------------- the customer's own


def own_ids(lake: "Lake", customer_id: str) -> list[str]:
    """Return every id of a customer, merged ones included; the canonical one is the first."""
    people = lake.identities.canonical_ids()
    canonical = people.get(customer_id, customer_id)
    return [canonical, *sorted(one for one, other in people.items() if other == canonical)]


def orders(lake: "Lake", customer: str, before: datetime) -> list[Order]:
    """Return the newest orders of a canonical id, newest first."""
    events, items = lake.table("events", before=before), lake.table("items")
    own = events.filter(
        events.customer_id == customer, events.event_type.isin(["purchase", "return"])
    )
    columns = ("order_id", "occurred_at", "event_type", "item_id", "quantity", "amount")
    rows = own.select(*columns).execute()
    named = items.filter(items.item_id.isin(list(rows.item_id.dropna().unique())))
    titles = dict(named.select("item_id", "title").execute().itertuples(index=False))
    return orders_of(rows, titles)


def orders_of(rows: pd.DataFrame, titles: Mapping[str, str]) -> list[Order]:
    """Return a customer's newest orders from their purchases and returns, newest first."""
    day = rows.occurred_at.dt.floor("D").astype(str)
    rows = rows.assign(
        key=rows.order_id.astype(object).where(rows.order_id.notna(), day),
        title=rows.item_id.map(titles).fillna(rows.item_id),
    )
    returned = set(rows.key[rows.event_type == "return"])
    found = []
    for key, lines in rows[rows.event_type == "purchase"].groupby("key", sort=False):
        shown = lines.astype(object).where(lines.notna(), None)
        columns = zip(shown.title, shown.quantity, shown.amount, strict=True)
        amount = lines.amount.sum(min_count=1)
        found.append(
            Order(
                shown.order_id.iloc[0],
                lines.occurred_at.max().to_pydatetime().replace(tzinfo=UTC),
                tuple(Line(*line) for line in columns if line[0] is not None),
                None if pd.isna(amount) else float(amount),
                key in returned,
            )
        )
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
