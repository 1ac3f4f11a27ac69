"""Store unsubscribes and check unsubscribe links.

An unsubscribed customer has one row per channel. Selection and sending both read it.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from retention.db import Transaction
from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import Send, Suppression
from retention.errors import BadInput
from retention.keys import Keys, read_numbers, sign_numbers
from retention.outreach.adapter import (
    CONSENT_COLUMN,
    EMAIL,
    channel_name,
    consent_channel,
    is_text,
    sql_consent_channel,
)
from retention.outreach.contacts import customers_sharing
from retention.outreach.sends import cancel_reason
from retention.risk.policy import Policy, load_policy
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake


def unsubscribe(session: Transaction, send_id: int, now: datetime) -> bool:
    """Withdraw the consent of a send's customer to the channel of the send.

    Queued sends to the customer on this channel are cancelled. Repeating is harmless.
    """
    send = session.scalar(session.own(Send, id=send_id))
    if send is None:
        return False
    channel = consent_channel(send.channel)
    if withdraw(session, send.customer_id, "unsubscribe", now, send.campaign_id, channel):
        details = {"send": send_id, "channel": channel}
        record(session, "customer", "consent.withdrawn", send.campaign_id, now, details)
    return True


def channel_of_send(session: Transaction, send_id: int) -> str:
    """Return the channel whose consent a send needs; e-mail for an unknown send."""
    send = session.scalar(session.own(Send, id=send_id))
    return consent_channel(send.channel) if send else EMAIL


def withdraw(
    session: Transaction,
    customer_id: str,
    source: str,
    now: datetime,
    campaign_id: str | None = None,
    channel: str = EMAIL,
) -> bool:
    """Store that a customer wants no more messages of a channel, and cancel queued ones.

    `source`: how we know, at most 16 characters.
    """
    new = insert_once(
        session,
        Suppression,
        customer_id=customer_id,
        channel=channel,
        team_id=session.settings.team_id,
        source=source,
        campaign_id=campaign_id,
        at=now,
    )
    if new:
        queued = update(Send).filter_by(customer_id=customer_id, state="queued")
        values = {"error": cancel_reason("unsubscribed"), "error_code": "unsubscribed"}
        ours = queued.where(sql_consent_channel() == channel)
        session.change(ours.values(state="cancelled", **values))
    return new


def suppressed_customers(session: Transaction, channel: str = EMAIL) -> set[str]:
    """Return customers that unsubscribed from a channel."""
    own = session.own(Suppression, channel=channel)
    return set(session.scalars(own.with_only_columns(Suppression.customer_id)))


def consent_states(
    lake: "Lake", session: Transaction, ids: "pd.Series", channel: str = EMAIL
) -> "pd.Series":
    """Return the consent of each customer to a channel.

    Returns: ``given``, ``unknown`` or ``refused``. An unsubscribe under any merged id refuses. One
    from SMS or WhatsApp refuses for all customers with the same number.
    """
    import pandas as pd

    customers, column = lake.table("customers"), CONSENT_COLUMN[channel]
    known = customers.filter(customers[column].notnull())
    answers = known.select("customer_id", column).execute()
    has_agreed = answers[column].astype(bool)
    states = pd.Series("unknown", index=ids.index)
    states[ids.isin(answers.loc[has_agreed, "customer_id"])] = "given"
    states[ids.isin(answers.loc[~has_agreed, "customer_id"])] = "refused"
    left = lake.identities.resolved(suppressed_customers(session, channel))
    states[ids.isin(left)] = "refused"
    if is_text(channel) and left:
        agreed = ids[states == "given"]
        sharing = customers_sharing(lake, load_policy(session.settings), left, agreed)
        states[ids.isin(sharing)] = "refused"
    return states


def require_consent(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    ids: "pd.Series | None" = None,
    channel: str = EMAIL,
) -> None:
    """Refuse a campaign if the policy allows contact with none of the customers.

    It only reads consent, so it can run before scoring.

    `channel`: one of `MESSAGE_CHANNELS`. Only e-mail can do without a known consent.
    """
    acting = [rule.name for rule in policy.rules if rule.action != "nothing"]
    accepts_unknown = channel == EMAIL and any("unknown" in policy.consent_for(n) for n in acting)
    if ids is None:
        ids = lake.table("customers").select("customer_id").execute()["customer_id"]
        who = gettext("No customer has given marketing consent")
    else:
        who = gettext("None of the customers at risk has given marketing consent")
    states = consent_states(lake, session, ids, channel).value_counts()
    unknown, refused = int(states.get("unknown", 0)), int(states.get("refused", 0))
    if accepts_unknown or states.get("given", 0):
        return
    if is_text(channel):
        raise BadInput(
            gettext(
                "Nobody can get {channel}: {column} is missing for {unknown:,} and refused by "
                "{refused:,} of {customers:,} customers. Import it: `retention import customers "
                "FILE --map MAP.toml`, with {column} under [customers] of the map. The consent to "
                "e-mails does not count."
            ).format(
                channel=channel_name(channel),
                column=CONSENT_COLUMN[channel],
                unknown=unknown,
                refused=refused,
                customers=len(ids),
            ),
            field=CONSENT_COLUMN[channel],
        )
    raise BadInput(
        gettext(
            "{who}, so nobody can be contacted: marketing_consent is missing for {unknown:,} and "
            "refused by {refused:,} of {customers:,} customers. Import it: `retention import "
            "customers FILE --map MAP.toml`, with marketing_consent under [customers] of the map. "
            'Or set consent = "unless_refused" under [campaign] of the policy, if a missing '
            "consent counts as given in your shop."
        ).format(who=who, unknown=unknown, refused=refused, customers=len(ids)),
        field="marketing_consent",
    )


def unsubscribe_token(keys: Keys, send_id: int) -> str:
    """Return the unsubscribe token of a send. It never expires."""
    return sign_numbers(keys, "unsubscribe", send_id)


def read_unsubscribe_token(keys: Keys, token: str) -> int | None:
    """Return the send id of a token; None if the signature is invalid."""
    numbers = read_numbers(keys, "unsubscribe", token)
    return numbers[0] if numbers and len(numbers) == 1 else None


def public_url(settings: Settings) -> str:
    """Return the public URL without a trailing slash."""
    if not settings.public_url:
        message = gettext(
            "RETENTION_PUBLIC_URL is not set, so nobody could unsubscribe; set it to where "
            "customers reach this server, e.g. https://crm.shop.example, before campaigns "
            "are sent from here."
        )
        raise BadInput(message)
    return settings.public_url.rstrip("/")


def customers_without_consent(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    offers: Mapping[str, Mapping[str, Any]],
    channel: str = EMAIL,
) -> set[str]:
    """Return customers without the consent that their offer needs.

    Customers that refused are always included.

    `offers`: offer by customer id, with ``rule`` and accepted states of ``consent``. For offers
    stored before consent was kept, the present policy decides.
    `channel`: one of `retention.outreach.adapter.MESSAGE_CHANNELS`. For a short text, only a
    consent given to this channel counts.
    """
    import pandas as pd

    canonical = lake.identities.canonical_ids()
    canonical_of = pd.Series({each: canonical.get(each, each) for each in offers}, dtype=object)
    states = consent_states(lake, session, canonical_of, channel)
    if is_text(channel):
        return {customer_id for customer_id, state in states.items() if state != "given"}
    accepted_states = cache(policy.consent_for)

    def is_accepted(offer: Mapping[str, Any], state: str) -> bool:
        consent = tuple(offer["consent"]) if "consent" in offer else None
        return state in accepted_states(offer.get("rule", ""), consent)

    return {each for each, state in states.items() if not is_accepted(offers[each], state)}
