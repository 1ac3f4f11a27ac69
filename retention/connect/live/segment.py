"""Map the messages of Segment and RudderStack to canonical rows.

Names of events and properties are those of Segment's e-commerce specification, version 2.

References
----------
https://segment.com/docs/connections/spec/ecommerce/v2/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from retention.connect.live.events import MAX_EVENTS, Rejection, Text, content_key
from retention.errors import BadInput
from retention.text import gettext

# Names of events in lower case → canonical type. "Order Completed" and "Order Refunded" have one
# row per product.
EVENT_TYPES = {
    "product viewed": "view",
    "product clicked": "view",
    "product list viewed": "view",
    "products searched": "search",
    "product added": "cart",
    "order completed": "purchase",
    "order refunded": "return",
    "product reviewed": "review",
    "email opened": "email_open",
    "email link clicked": "email_click",
}
_WITH_PRODUCTS = ("purchase", "return")


class Customer(TypedDict):
    """A row of the lake's table ``customers``, as far as ``identify`` may fill it.

    Consent is not among the columns: only the shop's own records prove it.
    """

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        extra="ignore", coerce_numbers_to_str=True, str_strip_whitespace=True
    )

    customer_id: Text
    email: NotRequired[Annotated[str, StringConstraints(max_length=255, pattern=r"^\S+@\S+$")]]
    phone: NotRequired[Text]
    name: NotRequired[Text]
    locale: NotRequired[Text]
    timezone: NotRequired[Text]


@dataclass(slots=True)
class MappedMessages:
    """Canonical rows of messages.

    ``events`` are not checked yet; ``places`` has the message of each. ``customers`` are checked.
    """

    events: list[dict[str, Any] | Rejection] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    customers: list[dict[str, Any]] = field(default_factory=list)
    customer_keys: list[str] = field(default_factory=list)

    def add(self, place: int, event: dict[str, Any] | Rejection) -> None:
        """Add an event or a rejection of a message."""
        self.events.append(event)
        self.places.append(place)

    def reject(self, place: int, code: str, text: str) -> None:
        """Add the rejection of a message."""
        self.add(place, Rejection(place, code, text))


def messages_of(body: Any) -> list[Any]:
    """Return the messages of a call: one, or those of ``batch``."""
    if isinstance(body, dict) and "batch" in body:
        body = body["batch"]
        if not isinstance(body, list) or not 0 < len(body) <= MAX_EVENTS:
            text = gettext("batch must be a list of 1 to {limit:,} messages")
            raise BadInput(text.format(limit=MAX_EVENTS))
        return body
    if not isinstance(body, dict):
        raise BadInput(gettext("the body must be one message, or an object with `batch`"))
    return [body]


def map_messages(
    messages: Sequence[Any], now: datetime, *, default_type: str, takes_customers: bool
) -> MappedMessages:
    """Map messages to rows.

    `default_type`: type of a message without one: ``track``, ``identify`` or ``page``.
    `takes_customers`: false rejects ``identify``: a browser must not change an address.
    """
    mapped = MappedMessages()
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            text = gettext("the message is no JSON object")
            mapped.reject(place, "not_an_object", text)
            continue
        kind = str(message.get("type") or default_type)
        if message.get("userId") in (None, ""):
            text = gettext("userId is missing; visitors without an id are not recorded")
            mapped.reject(place, "missing_customer", text)
        elif kind == "identify":
            _identify(mapped, place, message, now, takes_customers)
        elif kind in ("page", "screen"):
            mapped.add(place, _common(message, now) | {"event_type": "view"})
        elif kind == "track":
            _track(mapped, place, message, now)
        else:
            text = gettext("type is {kind!r}; use track, identify or page").format(kind=kind[:40])
            mapped.reject(place, "unknown_event", text)
    return mapped


def _track(mapped: MappedMessages, place: int, message: Mapping[str, Any], now: datetime) -> None:
    name = str(message.get("event") or "")
    event_type = EVENT_TYPES.get(" ".join(name.lower().replace("_", " ").split()))
    if event_type is None:
        text = gettext("event is {name!r}; known are {known}").format(
            name=name[:60], known=", ".join(known.title() for known in EVENT_TYPES)
        )
        mapped.reject(place, "unknown_event", text)
        return
    properties = _mapping(message.get("properties"))
    common = _common(message, now) | {
        "event_type": event_type,
        "order_id": properties.get("order_id"),
        "currency": properties.get("currency"),
        "query": properties.get("query"),
        "rating": properties.get("rating"),
    }
    if event_type == "review":
        common["text"] = properties.get("review_body")
    products = properties.get("products")
    if event_type not in _WITH_PRODUCTS or not isinstance(products, list) or not products:
        total = properties.get("revenue", properties.get("total"))
        line = _line(properties) if event_type != "return" else {}
        if event_type in _WITH_PRODUCTS and total is not None:
            line |= {"amount": total}
        mapped.add(place, common | line)
    else:
        for number, product in enumerate(products):
            line = common | _line(_mapping(product))
            if common.get("event_id"):
                line["event_id"] = f"{common['event_id']}/{number}"
            mapped.add(place, line)
    coupon = properties.get("coupon")
    if event_type == "purchase" and isinstance(coupon, str) and coupon.strip():
        redeemed = common | {"event_type": "coupon_redeem", "query": coupon}
        if common.get("event_id"):
            redeemed["event_id"] = f"{common['event_id']}/coupon"
        mapped.add(place, redeemed)


def _common(message: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    at = next((message[key] for key in ("timestamp", "originalTimestamp") if message.get(key)), now)
    return {
        "event_id": message.get("messageId"),
        "customer_id": message["userId"],
        "occurred_at": at,
        "channel": _mapping(message.get("properties")).get("channel") or "web",
    }


def _line(product: Mapping[str, Any]) -> dict[str, Any]:
    quantity, price = product.get("quantity"), product.get("price")
    line = {
        "item_id": product.get("product_id") or product.get("sku"),
        "quantity": quantity,
        "discount": product.get("discount"),
    }
    if isinstance(price, int | float):
        try:
            line["amount"] = price * (quantity if isinstance(quantity, int | float) else 1)
        except OverflowError:  # an integer beyond every float, which the check refuses
            line["amount"] = price
    return line


def _identify(
    mapped: MappedMessages,
    place: int,
    message: Mapping[str, Any],
    now: datetime,
    takes_customers: bool,
) -> None:
    if not takes_customers:
        text = gettext("identify needs the secret write key; browsers cannot change customers")
        mapped.reject(place, "not_allowed", text)
        return
    traits = _mapping(message.get("traits"))
    names = [traits.get("firstName") or "", traits.get("lastName") or ""]
    row = {
        "customer_id": message["userId"],
        "email": traits.get("email"),
        "phone": traits.get("phone"),
        "name": traits.get("name") or " ".join(map(str, filter(None, names))),
        "locale": _mapping(message.get("context")).get("locale"),
        "timezone": _mapping(message.get("context")).get("timezone"),
    }
    try:
        customer = dict(_adapter().validate_python({k: v for k, v in row.items() if v}))
    except ValidationError as error:
        column = str(error.errors(include_url=False)[0]["loc"][0])
        text = gettext("{column} cannot be used").format(column=column)
        mapped.reject(place, "unknown_value", text)
        return
    if any("\0" in str(value) for value in customer.values()):
        text = gettext("a text has the character NUL")
        mapped.reject(place, "unknown_value", text)
        return
    # Without an id, each message counts: a customer can take an old address again.
    message_id = message.get("messageId") or message.get("timestamp") or now.isoformat()
    mapped.customers.append(customer)
    mapped.customer_keys.append(content_key("identify", message_id, *customer.values()))


@cache
def _adapter() -> TypeAdapter[Customer]:
    return TypeAdapter(Customer)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
