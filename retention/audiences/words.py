"""Say an audience expression in words, for messages that people read without its grammar."""

from retention.audiences.expression import (
    And,
    AtStore,
    Bought,
    Comparison,
    Engaged,
    Expression,
    InCampaign,
    InList,
    Not,
    OneOf,
    Or,
    kind_of,
    print_value,
)
from retention.number_format import count
from retention.text import gettext


def in_words(expression: Expression) -> str:
    """Return such as "last order less than 1 day ago, and churn risk medium or higher"."""
    match expression:
        case Not(part):
            return gettext("not ({part})").format(part=in_words(part))
        case And(left, right):
            return gettext("{left}, and {right}").format(left=_inner(left), right=_inner(right))
        case Or(left, right):
            return gettext("{left}, or {right}").format(left=_inner(left), right=_inner(right))
        case Bought(_, name, days, store, action):
            text = gettext("looked at {name}") if action == "viewed" else gettext("bought {name}")
            text = _in_period(text.format(name=name), days)
            at_store = gettext("{what} at store {name}")
            return text if store is None else at_store.format(what=text, name=store)
        case Engaged(action, days):
            opened, clicked = gettext("opened an e-mail"), gettext("clicked in an e-mail")
            return _in_period(opened if action == "opened" else clicked, days)
        case AtStore(names):
            return gettext("ordered at store {name}").format(name=", ".join(names))
        case InCampaign(campaign):
            return gettext("in the campaign {name}").format(name=campaign)
        case InList(name):
            return gettext("in the list {name}").format(name=name)
        case OneOf(field, values, days):
            listed = ", ".join(_value(field, value) for value in values)
            named = _in_period(_field(field), days)
            return gettext("{field} is one of {values}").format(field=named, values=listed)
        case Comparison():
            return _comparison(expression)


def _inner(part: Expression) -> str:
    return f"({in_words(part)})" if isinstance(part, Or) else in_words(part)


def _in_period(what: str, days: int | None) -> str:
    if days is None:
        return what
    return gettext("{what} in the last {days}").format(what=what, days=count(days, "day"))


def _comparison(part: Comparison) -> str:
    named = _in_period(_field(part.field), part.days)
    values = {"field": named, "value": _value(part.field, part.value)}
    kind = kind_of(part.field)
    if kind == "days":
        sentences = {
            "<": gettext("{field} less than {value} ago"),
            "<=": gettext("{field} at most {value} ago"),
            ">": gettext("{field} more than {value} ago"),
            ">=": gettext("{field} at least {value} ago"),
            "=": gettext("{field} {value} ago"),
            "!=": gettext("{field} not {value} ago"),
        }
    elif kind == "tier":
        sentences = {
            "<": gettext("{field} below {value}"),
            "<=": gettext("{field} {value} or lower"),
            ">": gettext("{field} above {value}"),
            ">=": gettext("{field} {value} or higher"),
            "=": gettext("{field} {value}"),
            "!=": gettext("{field} not {value}"),
        }
    else:
        sentences = {
            "<": gettext("{field} less than {value}"),
            "<=": gettext("{field} at most {value}"),
            ">": gettext("{field} more than {value}"),
            ">=": gettext("{field} at least {value}"),
            "=": gettext("{field} {value}"),
            "!=": gettext("{field} not {value}"),
        }
    return sentences[part.operator].format(**values)


def _field(field: str) -> str:
    return {
        "risk": gettext("churn risk"),
        "probability": gettext("churn risk"),
        "value": gettext("expected spend"),
        "orders": gettext("number of orders"),
        "last_order": gettext("last order"),
        "first_order": gettext("first order"),
        "last_event": gettext("last activity"),
        "spent": gettext("total spend"),
        "consent": gettext("consent"),
        "channel": gettext("channel"),
        "last_store": gettext("store of the newest order"),
        "country": gettext("country"),
        "city": gettext("city"),
    }.get(field, field)


def _value(field: str, value: str | float) -> str:
    kind = kind_of(field)
    if isinstance(value, str):
        words = {
            "high": gettext("high"),
            "medium": gettext("medium"),
            "low": gettext("low"),
            "given": gettext("given"),
            "unknown": gettext("unknown"),
            "refused": gettext("refused"),
        }
        return words.get(value, value) if kind in ("tier", "consent") else value
    if kind == "days":
        return count(value, "day")
    if kind == "share":
        return f"{100 * value:g}%"
    return f"{value:,g}" if kind == "number" else print_value(field, value)
