"""Compose the short text of an SMS or WhatsApp message, and count the SMS that it takes.

A phone shows 160 characters of the GSM alphabet in one SMS, or 70 if the text has any other
character. Longer texts are cut into parts, and each part is paid for.

References
----------
3GPP TS 23.038 (GSM 7-bit default alphabet), TS 23.040 (concatenated messages).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from retention.campaigns.lifecycle.spec import Body, TextReader
from retention.campaigns.message import email_content
from retention.campaigns.message.brand import load_brand
from retention.campaigns.message.merged_message import customer_wording, message_text, own_parts
from retention.campaigns.message.wording import (
    SHORT_ACTIONS,
    Wording,
    fill_text,
    load_wording,
    text_of,
    text_wording,
)
from retention.campaigns.planning.offer_terms import stored_offer
from retention.errors import BadInput
from retention.outreach.adapter import Contact, channel_name, is_text
from retention.outreach.contacts import find_contacts
from retention.risk.policy import Policy
from retention.risk.strategy import CODED
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_ESCAPED = frozenset("^{}\\[~]|€\f")  # each takes the place of two characters
GSM_LIMITS = (160, 153)  # characters of a single SMS, and of each part of a longer text
UNICODE_LIMITS = (70, 67)  # the same in UTF-16 code units
# Typographic characters that would make a text's parts shorter.
_PLAIN = str.maketrans("\u00a0\u202f\u2009\u2018\u2019\u201c\u201d\u2013\u2014", "   ''\"\"--") | {
    ord("\u2026"): "..."
}
MAX_TEXT = 480  # characters of a short text: four SMS with its link
SAMPLE = 50  # customers whose texts are measured for the cost
# A customer like others, to estimate the length of a text before there is a sample.
_NAME, _CODE, _DISCOUNT = "Alexandra", "XXXX-XXXX-XXXX", 0.15
_EXPIRES = datetime(2030, 9, 30, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TextContent:
    """The text of one message. ``text`` includes the link and how to end further ones."""

    text: str
    link: str
    opt_out: str
    parts: int

    @property
    def body_length(self) -> int:
        """Characters without the link and the line about STOP."""
        added = [part for part in (self.link, self.opt_out) if part]
        return len(self.text) - sum(len(part) + 1 for part in added)


def count_parts(text: str, channel: str = "sms") -> int:
    """Return the number of SMS that a text takes; WhatsApp sends it as one message.

    Examples
    --------
    >>> count_parts("a" * 160), count_parts("a" * 161), count_parts("ê" * 71)
    (1, 2, 2)
    """
    if channel != "sms":
        return 1
    if _is_gsm(text):
        (single, part), widths = GSM_LIMITS, [1 + (sign in GSM_ESCAPED) for sign in text]
    else:
        single, part = UNICODE_LIMITS
        widths = [len(sign.encode("utf-16-le")) // 2 for sign in text]
    if sum(widths) <= single:
        return 1
    parts, used = 1, 0
    for width in widths:  # a character is never cut in two
        parts, used = (parts + 1, width) if used + width > part else (parts, used + width)
    return parts


def _is_gsm(text: str) -> bool:
    return GSM.union(GSM_ESCAPED).issuperset(text)


def text_content(
    settings: Settings, body: Body, offer: email_content.Offer, contact: Contact
) -> TextContent:
    """Compose the text to one customer, in the customer's language.

    `body`: the campaign's version. Its channel is ``sms`` or ``whatsapp``.
    `offer`: row of `launch.recipient_rows`.
    """
    terms = offer["offer"]
    own = own_parts(settings, body, terms)
    wording = customer_wording(settings, body, terms, contact.locale, own)
    values = email_content.placeholder_values(settings, contact.name, offer, wording)
    typed = message_text(body, terms, wording, own)
    is_own = bool(own.text)
    return _composed(settings, body.message_channel, wording, typed, values, is_own=is_own)


def expected_parts(
    settings: Settings, channel: str, actions: Iterable[str], own: dict[str, str] | None = None
) -> int:
    """Estimate the SMS per customer: those of the longest text to a customer like others."""
    wording = text_wording(settings, load_wording(settings))
    assert wording.words.sms is not None
    parts = [1]
    for action in {*actions} & {*SHORT_ACTIONS}:
        terms = {"action": action, "discount": _DISCOUNT, "items": [], "consent": ["given"]}
        values = email_content.placeholder_values(settings, _NAME, _usual_row(terms), wording)
        typed = (own or {}).get(action)
        text = typed or text_of(wording, action, channel)
        is_own = typed is not None
        parts.append(_composed(settings, channel, wording, text, values, is_own=is_own).parts)
    return max(parts)


def sampled(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a random sample of a draft's rows; their buckets are random."""
    return sorted(rows, key=lambda row: (row["bucket"], row["customer_id"]))[:SAMPLE]


def sampled_terms(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the offers of `sampled`, in the same order."""
    return [row["offer"] for row in sampled(rows)]


def with_text_cost(
    lake: "Lake", settings: Settings, policy: Policy, body: Body, customers: "pd.DataFrame"
) -> Policy:
    """Return the policy with what texts to a sample cost, so that the audience fits the budget.

    `body`: the draft so far, without items.
    `customers`: ``customer_id, rule`` of its audience.
    """
    sample = customers.sample(min(SAMPLE, len(customers)), random_state=0)
    contacts = find_contacts(lake, sample["customer_id"])
    line_of = {line.rule: line for line in body.offers}
    terms = [stored_offer(line_of[rule], (), body.currency, "", None) for rule in sample["rule"]]
    readers = text_readers(map(contacts.get, sample["customer_id"]))
    cost = with_parts(settings, body.model_copy(update={"readers": readers}), terms).contact_cost
    offer = policy.offer.model_copy(update={"contact_cost": cost})
    return policy.model_copy(update={"offer": offer})


def text_readers(contacts: Iterable[Contact | None]) -> tuple[TextReader, ...]:
    """Return what matters of customers for the length of their texts.

    `contacts`: of a sample of at most `SAMPLE` customers; None if the shop knows nothing of one.
    """
    return tuple(
        TextReader(
            locale=contact.locale, name_length=len(contact.name), is_gsm=_is_gsm(contact.name)
        )
        for contact in (known or Contact() for known in contacts)
    )


def with_parts(
    settings: Settings, body: Body, terms: Sequence[Mapping[str, Any]] | None = None
) -> Body:
    """Return the version with the cost of its text: more parts cost more.

    `terms`: stored offers of a sample, with the items of each customer. With them and the version's
    ``readers``, the parts are the mean of the sample; otherwise those of a usual text.
    """
    if not is_text(body.message_channel):
        return body
    parts: float
    if terms and body.readers:
        parts = _mean_parts(settings, body, terms)
    else:
        own: dict[str, str] = {}
        for line in body.offers:
            text = own_parts(settings, body, {"rule": line.rule, "action": line.action}).text
            if len(text) > len(own.get(line.action, "")):
                own[line.action] = text
        actions = {line.action for line in body.offers}
        parts = expected_parts(settings, body.message_channel, actions, own)
    cost = body.contact_cost / body.parts * parts
    return body.model_copy(update={"parts": parts, "contact_cost": cost})


def _mean_parts(settings: Settings, body: Body, terms: Sequence[Mapping[str, Any]]) -> float:
    """Measure the texts of a sample, and refuse one of a person's that gets too long."""
    pairs = list(zip(terms, body.readers, strict=False))
    contents = [
        text_content(settings, body, _usual_row(offer), _stand_in(reader))
        for offer, reader in pairs
    ]
    for (offer, _), content in zip(pairs, contents, strict=True):
        if content.body_length > MAX_TEXT and own_parts(settings, body, offer).text:
            problem = gettext(
                "With the name and the items of a customer the text has {count:,} characters, "
                "and {channel} allows {longest:,}; shorten it, or leave out {{items}}."
            )
            name = channel_name(body.message_channel)
            values = {"count": content.body_length, "channel": name, "longest": MAX_TEXT}
            raise BadInput(problem.format(**values), field="copy_text")
    return sum(content.parts for content in contents) / len(contents)


def _stand_in(reader: TextReader) -> Contact:
    letter = "A" if reader.is_gsm else "\u0141"
    return Contact(name=letter * reader.name_length, locale=reader.locale)


def _usual_row(terms: Mapping[str, Any]) -> dict[str, Any]:
    has_code = terms["action"] in CODED
    return {
        "offer": terms,
        "code": _CODE if has_code else None,
        "expires_at": _EXPIRES if has_code else None,
    }


def channel_policy(settings: Settings, policy: Policy, channel: str) -> Policy:
    """Return the policy for a campaign of a channel.

    SMS and WhatsApp have their own cost and their own consent, which is never assumed, and such a
    campaign makes no personal calls.
    """
    if not is_text(channel):
        return policy
    given = [rule for rule in policy.rules if rule.consent is None or "given" in rule.consent]
    rules = tuple(rule.model_copy(update={"consent": None}) for rule in given)
    cost = policy.offer.sms_cost if channel == "sms" else policy.offer.whatsapp_cost
    parts = expected_parts(settings, channel, (rule.action for rule in rules))
    offer = policy.offer.model_copy(update={"contact_cost": cost * parts})
    campaign = policy.campaign.model_copy(update={"consent": "required", "max_calls": 0})
    return policy.model_copy(update={"rules": rules, "offer": offer, "campaign": campaign})


def _composed(
    settings: Settings,
    channel: str,
    wording: Wording,
    typed: str,
    values: dict[str, str],
    *,
    is_own: bool,
) -> TextContent:
    words = wording.words.sms
    assert words is not None
    text = fill_text(typed, values).strip()
    if values["shop"] and not is_own:
        text = fill_text(words.with_shop, {"shop": values["shop"], "text": text})
    link = _short_link(settings, values["code"])
    whole = " ".join(filter(None, (text, link, words.stop))).translate(_PLAIN)
    opt_out = words.stop.translate(_PLAIN)
    return TextContent(whole, link, opt_out, count_parts(whole, channel))


def _short_link(settings: Settings, code: str) -> str:
    """Return the link that applies the code, else that to the shop; without campaign parameters.

    They would take more than a whole SMS. The code tells which campaign an order belongs to.
    """
    brand = load_brand(settings)
    if code and brand.links.discount:
        return brand.links.discount.format(code=quote(code, safe=""), redirect=quote("/", safe=""))
    return brand.website
