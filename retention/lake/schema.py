"""Define the canonical tables and columns of the lake.

Types: ``text``, ``number`` (double), ``flag`` (boolean), ``moment`` (UTC, microseconds), ``json``
(JSON as text).
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

Kind = Literal["text", "number", "flag", "moment", "json"]

EVENT_TYPES = (
    "view",
    "search",
    "cart",
    "purchase",
    "return",
    "review",
    "email_open",
    "email_click",
    "coupon_redeem",
    "support",
)
MESSAGE_CHANNELS = ("email", "sms", "whatsapp")
ARMS = ("treatment", "control")
RELATIONS = ("follow", "refer", "friend", "household", "gift")
TEXT_KINDS = ("review", "ticket", "email_reply", "survey")
EARLIEST = date(1700, 1, 1)  # limit of nanosecond timestamps
LINK_STATES = ("proposed", "accepted", "rejected", "undone")
SQL_TYPES: dict[str, str] = {
    "text": "VARCHAR",
    "number": "DOUBLE",
    "flag": "BOOLEAN",
    "moment": "TIMESTAMP",
    "json": "VARCHAR",
}
DELTA_TYPES: dict[str, str] = {  # Spark's, too
    "text": "string",
    "number": "double",
    "flag": "boolean",
    "moment": "timestamp",
    "json": "string",
}
IBIS_TYPES = DELTA_TYPES | {"number": "float64"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a canonical table.

    A row without a ``required`` column is quarantined. ``values`` lists the allowed values.
    ``is_later``: added after the first release, so files of older homes lack it. ``is_internal``:
    the desk alone writes and reads it.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    values: tuple[str, ...] = ()
    is_later: bool = False
    is_internal: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A canonical table.

    ``key`` identifies a row. ``keyed`` tables are updated by key; the others only grow.
    ``partition`` is a storage column that splits files; readers do not see it.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    keyed: bool = True
    importable: bool = True
    partition: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def public(self) -> tuple[Column, ...]:
        """The columns that a map can fill and that readers see."""
        return tuple(column for column in self.columns if not column.is_internal)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns that every row must have."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def later(self) -> tuple[Column, ...]:
        """The columns that files of older homes lack."""
        return tuple(column for column in self.columns if column.is_later)

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _column(
    name: str, kind: Kind, meaning: str, values: tuple[str, ...] = (), **flags: bool
) -> Column:
    """Return a column; a star after its name says that every row must have it."""
    return Column(name.rstrip("*"), kind, meaning, name.endswith("*"), values, **flags)


EVENTS = Table(
    "events",
    (
        _column("event_id", "text", "identity; without one, the hash of what the event says"),
        _column("customer_id*", "text", "who"),
        _column("event_type*", "text", "what happened", EVENT_TYPES),
        _column("occurred_at*", "moment", "when it happened"),
        _column(
            "available_at", "moment", "when the shop could first know of it, where that is later"
        ),
        _column("item_id", "text", "of which item"),
        _column("order_id", "text", "in which order or visit"),
        _column("quantity", "number", "how many (or how much)"),
        _column("amount", "number", "line total paid, in `currency`"),
        _column("discount", "number", "what was taken off the line total, in `currency`; positive"),
        _column("currency", "text", "ISO 4217"),
        _column("duration_s", "number", "seconds spent"),
        _column("rating", "number", "the rating given"),
        _column("query", "text", "what was searched for; of a coupon_redeem, the code"),
        _column("channel", "text", "web, app, store, email …"),
        _column("source", "text", "which system told us"),
        _column("store", "text", "in which store or branch", is_later=True),
        _column(
            "stated_at",
            "moment",
            "when the shop last changed the order; else, the newest order of its export",
            is_later=True,
        ),
        _column(
            "superseded_at",
            "moment",
            "since when a newer state of the order counts",
            is_later=True,
            is_internal=True,
        ),
    ),
    key=("event_id",),
    keyed=False,
    partition="month",
)
CUSTOMERS = Table(
    "customers",
    (
        _column("customer_id*", "text", "who"),
        _column("email", "text", "e-mail address"),
        _column("phone", "text", "telephone number"),
        _column("name", "text", "name to address them by"),
        _column("locale", "text", "language and country, like en-GB"),
        _column("timezone", "text", "IANA time zone"),
        _column("created_at", "moment", "customer since"),
        _column("marketing_consent", "flag", "may be written to; missing = unknown = excluded"),
        _column("sms_consent", "flag", "may get SMS; missing = excluded", is_later=True),
        _column("whatsapp_consent", "flag", "may get WhatsApp; missing = excluded", is_later=True),
        _column(
            "tracking_consent",
            "flag",
            "their opens and clicks may be stored; missing = not stored",
            is_later=True,
        ),
        _column(
            "attributes", "json", 'anything else; {"assumed": [fields]} names what was made up'
        ),
    ),
    key=("customer_id",),
)
ITEMS = Table(
    "items",
    (
        _column("item_id*", "text", "which item"),
        _column("title", "text", "what people call it"),
        _column("category", "text", "kind of item"),
        _column("brand", "text", "brand"),
        _column("price", "number", "price of one, in the shop's currency"),
        _column("margin", "number", "share of the price that is left after its cost, 0 … 1"),
        _column("in_stock", "flag", "can be bought now"),
        _column(
            "attributes", "json", 'anything else; {"recommendable": false} is never recommended'
        ),
    ),
    key=("item_id",),
)
TREATMENTS = Table(
    "treatments",
    (
        _column("campaign_id*", "text", "which campaign"),
        _column("customer_id*", "text", "who"),
        _column("arm*", "text", "treatment, or control (hold-out)", ARMS),
        _column("sent_at*", "moment", "when the campaign went out"),
        _column("offer", "json", "what was offered"),
        _column("purchased", "flag", "outcome: bought within the window"),
        _column("amount", "number", "outcome: spent within the window"),
        _column("redeemed", "flag", "outcome: used the coupon"),
    ),
    key=("campaign_id", "customer_id"),
)
RELATED = Table(
    "relations",
    (
        _column("customer_id*", "text", "who follows, brought in, or is a friend of"),
        _column("other_id*", "text", "this customer"),
        _column(
            "kind*",
            "text",
            "follow, refer (customer_id brought other_id in), friend, household (one address) or "
            "gift (customer_id sent other_id one)",
            RELATIONS,
        ),
        _column("occurred_at", "moment", "since when"),
    ),
    key=("customer_id", "other_id", "kind"),
)
TEXTS = Table(
    "texts",
    (
        _column("text_id", "text", "identity; without one, the hash of what the row says"),
        _column("customer_id*", "text", "who wrote"),
        _column("occurred_at*", "moment", "when they wrote"),
        _column("available_at", "moment", "when the shop could first read it, where that is later"),
        _column("kind*", "text", "what it is", TEXT_KINDS),
        _column("text*", "text", "what they wrote"),
        _column("language", "text", "its language, like en; of a locale, the first part"),
        _column("stars", "number", "stars given with it, 1 to 5"),
    ),
    key=("text_id",),
)
TEXT_SIGNALS = Table(  # follow from the texts: retention.texts
    "text_signals",
    (
        _column("text_id*", "text", "which text"),
        _column("customer_id*", "text", "who wrote"),
        _column("occurred_at*", "moment", "when they wrote"),
        _column("available_at", "moment", "when the shop could first read it"),
        _column("digest", "text", "hash of the text that the vector is of"),
        _column("vector", "text", "the text's embedding, 384 numbers of 16 bits in base64"),
        _column("mood", "number", "from 0, bad, to 1, good; by its stars, else predicted"),
    ),
    key=("text_id",),
    importable=False,
)
PICTURES = Table(  # follow from the pictures of the items: retention.pictures
    "pictures",
    (
        _column("item_id*", "text", "which item"),
        _column("address", "text", "where its picture was read: a web address or a file's name"),
        _column("digest", "text", "SHA-256 of the picture"),
        _column("vector", "text", "what it looks like, 1344 numbers of 16 bits in base64"),
        _column("problem", "text", "code of why it cannot be used; missing: it can"),
    ),
    key=("item_id",),
    importable=False,
)
SCORES = Table(
    "scores",
    (
        _column("customer_id*", "text", "who"),
        _column("as_of*", "moment", "what the score knows lies before this"),
        _column("model_version*", "text", "which model"),
        _column("run_id*", "text", "job and attempt that wrote it"),
        _column("churn_probability", "number", "of no purchase within the horizon"),
        _column("tier", "text", "high, medium, low; lapsed: no order within the activity window"),
        _column("reasons", "json", "[{feature, text, weight}]; the first may have `clauses`"),
        _column(
            "expected_value", "number", "spending expected if they stay, in the shop's currency"
        ),
        _column("next_order_at", "moment", "when the next order is expected"),
        _column(
            "lost_margin",
            "number",
            "margin that is expected to be lost within the horizon, against the own past rate",
            is_later=True,
        ),
        _column("list_rank", "number", "place on the list; missing: not listed", is_later=True),
    ),
    key=("run_id", "customer_id"),
    importable=False,
    partition="run_id",
)

LINKS = Table(
    "links",
    (
        _column("link_id*", "text", "the pair of ids: the same for every decision on it"),
        _column("customer_id*", "text", "the id that was known later"),
        _column("same_as*", "text", "the id that was known earlier"),
        _column("customer_since", "moment", "when the later id was first known"),
        _column("same_as_since", "moment", "when the earlier id was first known"),
        _column("method*", "text", "email, phone, the attribute that both have, or probable"),
        _column("probability*", "number", "that both are one person"),
        _column("state*", "text", "what was decided", LINK_STATES),
        _column("evidence", "json", "what speaks for it; no values, only how well they agree"),
        _column("evident_at", "moment", "since when the evidence is there; missing: it always was"),
        _column("decided_at*", "moment", "when it was decided"),
        _column("decided_by*", "text", "who decided; `import` is an import that linked by itself"),
        _column("seq*", "number", "the order of decisions"),
    ),
    key=("seq",),
    keyed=False,
    importable=False,
)

REDEMPTIONS = Table(  # stored in SQL, not in the lake (retention.campaigns.codes.redemptions)
    "redemptions",
    (
        _column("code*", "text", "the code, as it was typed"),
        _column("occurred_at*", "moment", "when it was used"),
        _column("customer_id", "text", "who used it"),
        _column("order_id", "text", "in which order"),
    ),
    key=("code", "occurred_at"),
)

BOUNCES = Table(  # stored in SQL as states of the e-mails (retention.outreach.bounces)
    "bounces",
    (
        _column("customer_id", "text", "whose copy came back; this or email is needed"),
        _column("email", "text", "the address that it could not be delivered to"),
        _column("occurred_at*", "moment", "when it came back"),
        _column("channel", "text", "email (the default), sms or whatsapp", MESSAGE_CHANNELS),
    ),
    key=("email", "occurred_at"),
)

LISTS = Table(  # stored in SQL, not in the lake (retention.audiences.lists)
    "lists",
    (
        _column("customer_id", "text", "who; this or email is needed"),
        _column("email", "text", "the address of the customer"),
    ),
    key=("customer_id",),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *(EVENTS, CUSTOMERS, ITEMS, TREATMENTS, RELATED),
        *(TEXTS, TEXT_SIGNALS, PICTURES, SCORES, LINKS),
    )
}
# Tables with a history, and the time by which `before` and `since` select their rows.
TIMES = {"events": "occurred_at", "texts": "occurred_at", "text_signals": "occurred_at"}
TIMES |= {"treatments": "sent_at"}
ITEM_PICTURES = ("image_url", "image", "picture")  # attributes of an item; the first there counts
# Texts that may name other customers, too.
FREE_TEXTS = {"events": "query", "texts": "text"}
_TEXT_CONTENT = "concat_ws(chr(31), customer_id, kind, epoch_us(occurred_at), text)"
TEXT_ID = f"coalesce(text_id, md5({_TEXT_CONTENT}))"

EVENT_IDENTITY = (
    "source",
    "customer_id",
    "event_type",
    "occurred_at",
    "order_id",
    "item_id",
    "quantity",
    "amount",
)
# Numbers are integers with four decimals, whose text is fast to make. Without a source id, the hash
# of this content is the event's id. It is computed on reading and not stored.
EVENT_CONTENT = {
    name: f"try_cast({name} * 10000 AS BIGINT)" if name in ("quantity", "amount") else name
    for name in EVENT_IDENTITY
} | {"occurred_at": "epoch_us(occurred_at)"}
# concat treats NULL as empty.
_CONTENT = ", chr(31), ".join(EVENT_CONTENT.values())
EVENT_ID = f"coalesce(event_id, md5(concat({_CONTENT})))"
