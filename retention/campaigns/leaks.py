"""Find customers of the hold-out group who got the campaign's e-mail anyway.

A mail platform may send to customers that it was asked to leave out. It shows in imported e-mail
events: an open or a click that names the campaign, by its id or its name.
"""

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Assignment, Campaign

if TYPE_CHECKING:
    from retention.lake import Lake

EMAIL_EVENTS = ("email_open", "email_click")
NAMED_IN = ("query", "item_id", "source")  # columns of an event that may name the campaign


def leak_check(lake: "Lake", session: Session, campaign: Campaign) -> dict[str, Any]:
    """Count hold-out customers with an e-mail event of the campaign in its window.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        Open session.
    campaign : Campaign
        A campaign that was sent.

    Returns
    -------
    dict
        ``treatment`` and ``control``: customers of each group with such an event. ``understated``:
        by which share the real effect is larger than the measured one, at most; None if nobody got
        the e-mail by mistake, or everybody did.

    Notes
    -----
    If a share s of the hold-out group is treated, too, the difference of the groups is (1 − s) of
    the effect, provided that these customers respond like the others (non-compliance; Angrist,
    Imbens & Rubin 1996). So the effect is 1 / (1 − s) of the measured one.
    """
    from retention.lake.lake import naive

    start, end = campaign.sent_at, campaign.window_ends_at
    if start is None or end is None:
        return {"treatment": 0, "control": 0, "understated": None}
    events = lake.table("events", before=end, since=start)
    names = [campaign.id.lower(), campaign.name.lower()]
    is_named = events[NAMED_IN[0]].lower().isin(names)
    for column in NAMED_IN[1:]:
        is_named = is_named | events[column].lower().isin(names)
    seen = events.filter(
        events.event_type.isin(EMAIL_EVENTS), events.occurred_at >= naive(start), is_named
    )
    customers = set(seen.select("customer_id").distinct().execute()["customer_id"])
    arms = session.execute(
        select(Assignment.customer_id, Assignment.arm).where(Assignment.campaign_id == campaign.id)
    ).tuples()
    groups: dict[str, list[str]] = {"treatment": [], "control": []}
    for customer, arm in arms:
        groups.setdefault(arm, []).append(customer)
    found = {arm: len(customers.intersection(groups[arm])) for arm in ("treatment", "control")}
    share = found["control"] / len(groups["control"]) if groups["control"] else 0.0
    understated = share / (1 - share) if 0 < share < 1 else None
    return {**found, "understated": understated}
