"""Say an audience expression in words, for messages that people read without its grammar."""

from retention.audiences.expression import (
    And,
    Bought,
    Comparison,
    Expression,
    InCampaign,
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
        case Bought(_, name, None):
            return gettext("bought {name}").format(name=name)
        case Bought(_, name, days):
            text = gettext("bought {name} in the last {days}")
            return text.format(name=name, days=count(days, "day"))
        case InCampaign(campaign):
            return gettext("in the campaign {name}").format(name=campaign)
        case OneOf(field, values):
            listed = ", ".join(_value(field, value) for value in values)
            return gettext("{field} is one of {values}").format(field=_field(field), values=listed)
        case Comparison():
            return _comparison(expression)


def _inner(part: Expression) -> str:
    return f"({in_words(part)})" if isinstance(part, Or) else in_words(part)


def _comparison(part: Comparison) -> str:
    values = {"field": _field(part.field), "value": _value(part.field, part.value)}
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
        "spent": gettext("total spend"),
        "consent": gettext("consent"),
        "channel": gettext("channel"),
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
