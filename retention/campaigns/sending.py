"""Make an approved campaign live: codes reserved in batches, the projection written, then issued at once with the state.

Any of it may run twice or die half-way: until `finish` commits, nobody has a code.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from retention.campaigns import audience, coupons
from retention.campaigns.approval import refuse_nobody, schedule
from retention.campaigns.assignment import arms, leave_out
from retention.campaigns.spec import Body
from retention.campaigns.states import CLEARING, Stale, find, move
from retention.db import Database
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.errors import Conflict
from retention.outreach import sends
from retention.outreach.dispatch import channel
from retention.risk.strategy import CODED
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

_QUIETLY = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Sent:
    """What went live."""

    campaign: Campaign
    treated: int
    control: int
    codes: int


class Begun(NamedTuple):
    """A campaign that is being sent; how many customers were left out in this very step."""

    campaign: Campaign
    left_out: int


def returned(
    database: Database, settings: Settings, lake: "Lake", campaign_id: str, now: datetime
) -> set[str]:
    """Who of a decided campaign, in either arm, have ordered since the moment that it was drafted from: as a draft leaves them out."""
    with database.reading() as session:
        campaign = find(session, settings, campaign_id)
        inside = Assignment.campaign_id == campaign_id, Assignment.arm.in_(("treatment", "control"))
        customers = session.scalars(select(Assignment.customer_id).where(*inside)).all()
    return audience.returned(lake, customers, Body.model_validate(campaign.body).as_of, now)


def doubles(database: Database, settings: Settings, lake: "Lake", campaign_id: str) -> set[str]:
    """Ids of a decided campaign that are the same customer as another of it by now; one of each stays, whatever their arms are."""
    people = lake.identities.people()
    with database.reading() as session:
        find(session, settings, campaign_id)
        inside = Assignment.campaign_id == campaign_id, Assignment.arm.in_(("treatment", "control"))
        customers = (
            session.scalars(select(Assignment.customer_id).where(*inside)).all() if people else []
        )
    stay: dict[str, str] = {}
    for one in sorted(
        customers, key=lambda one: (one in people, one)
    ):  # the id that they have now, if it is there
        stay.setdefault(people.get(one, one), one)
    return set(customers) - set(stay.values())


def begin(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    actor: str,
    now: datetime,
    gone: Collection[str] = (),
) -> Begun:
    """From approved to sending, once the clearance time has passed; a run that died half-way is taken up again, as of now.

    ``gone``: who is left out of both arms from here on. Of a run that is taken up again nobody is: their codes are reserved.

    Raises
    ------
    Conflict
        It is not yet time; or it would go to nobody any more.
    Stale
        Stopped, edited, or already live.
    """
    campaign = find(session, settings, campaign_id)
    if campaign.state == "sending" and campaign.version == version:
        return Begun(_anew(session, settings, campaign, now), 0)
    if campaign.state in CLEARING and campaign.send_at is not None and campaign.send_at > now:
        raise Conflict(
            gettext(
                "Campaign {name!r} is in its clearance time until {send_at:%d %b %Y, %H:%M} "
                "UTC; until then it can be stopped, not sent."
            ).format(name=campaign.name, send_at=campaign.send_at)
        )
    if campaign.state == "approved" and campaign.version == version:  # the tick has not come by yet
        schedule(session, settings, campaign_id, now)
    in_time = or_(Campaign.expires_at.is_(None), Campaign.expires_at > now)
    campaign = move(
        session,
        settings,
        campaign_id,
        frm=("scheduled",),
        to="sending",
        seen=version,
        actor=actor,
        action="campaign.sending",
        at=now,
        where=(Campaign.send_at <= now, in_time),
        sent_at=now,
        details={"left_out": len(gone)} if gone else None,
    )
    if gone:
        refuse_nobody(campaign, leave_out(session, campaign, gone), returned=True)
    return Begun(campaign, len(gone))


def _anew(session: Session, settings: Settings, campaign: Campaign, now: datetime) -> Campaign:
    """Let the window and the codes begin now: days may have passed since the run that died, and nobody has got anything."""
    begun = (
        Campaign.id == campaign.id,
        Campaign.state == "sending",
        Campaign.version == campaign.version,
    )
    moved = session.execute(
        update(Campaign).where(*begun).values(sent_at=now), execution_options=_QUIETLY
    )
    if moved.rowcount:  # type: ignore[attr-defined]
        coupons.extend(session, campaign.id, _valid_until(settings, campaign, now))
    session.refresh(campaign)
    return campaign


def _valid_until(settings: Settings, campaign: Campaign, sent_at: datetime) -> datetime:
    return coupons.valid_until(
        sent_at, Body.model_validate(campaign.body).expires_days, settings.zone
    )


def reserve(
    database: Database, settings: Settings, campaign_id: str, version: int
) -> Iterator[tuple[int, int]]:
    """Reserve a code for each treated customer, a batch a transaction; yields (reserved, needed) after each.

    Raises
    ------
    Stale
        The campaign was stopped meanwhile.
    """
    while True:
        with database.transaction() as session:
            campaign = find(session, settings, campaign_id)
            if campaign.state != "sending" or campaign.version != version:
                raise Stale(campaign, version)
            assert campaign.sent_at is not None
            expires_at = _valid_until(settings, campaign, campaign.sent_at)
            missing = coupons.reserve(session, settings.team_id, campaign_id, expires_at)
            held = (
                session.scalar(select(func.count()).where(Coupon.campaign_id == campaign_id)) or 0
            )
        yield held, held + missing
        if not missing:
            return


def projection(session: Session, campaign: Campaign) -> "pd.DataFrame":
    """The campaign's rows of the lake's ``treatments``, from the SQL that decided them."""
    import json

    import pandas as pd

    rows = session.execute(
        select(Assignment.customer_id, Assignment.arm, Assignment.offer)
        .where(Assignment.campaign_id == campaign.id, Assignment.arm.in_(("treatment", "control")))
        .order_by(Assignment.customer_id)
    )
    return pd.DataFrame(
        [
            {
                "campaign_id": campaign.id,
                "customer_id": customer_id,
                "arm": arm,
                "sent_at": campaign.sent_at,
                "offer": json.dumps(offer if arm == "treatment" else {}),
            }
            for customer_id, arm, offer in rows
        ]
    )


def unreceived(lake: "Lake", session: Session, settings: Settings) -> "pd.DataFrame":
    """Rows of the lake's ``treatments`` (their keys) of whom a campaign treats that was stopped before their copy went out.

    Of one that was live before each copy was a row, nobody knows. What came of others is told with their campaign's result:
    in both arms all count as they were assigned.
    """
    import pandas as pd

    held = lake.table("treatments", identity="stored")
    held = held.filter(held.arm == "treatment")
    there = list(held.select("campaign_id").distinct().execute()["campaign_id"])
    copy = Send.campaign_id == Campaign.id
    reached = exists().where(
        copy, Send.customer_id == Assignment.customer_id, Send.state.in_(sends.REACHED)
    )
    rows = session.execute(
        select(Assignment.campaign_id, Assignment.customer_id)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(
            Campaign.team_id == settings.team_id,
            Campaign.state == "cancelled",
            Campaign.id.in_(there),
            Assignment.arm == "treatment",
            or_(Campaign.window_ends_at.is_(None), exists().where(copy)),
            ~reached,
        )
    )
    keys = pd.DataFrame(list(rows.tuples()), columns=["campaign_id", "customer_id"])
    held = held.filter(held.campaign_id.isin(sorted(set(keys["campaign_id"]))))
    return held.select(*keys.columns).execute().merge(keys)


def finish(
    session: Session, settings: Settings, campaign_id: str, version: int, actor: str, now: datetime
) -> Sent:
    """From sending to live: every reserved code is issued, the measuring window begins.

    Raises
    ------
    Stale
        Stopped meanwhile, or live already: nothing is issued.
    Conflict
        A treated customer has no code (an audience that changed under way).
    """
    campaign = find(session, settings, campaign_id)
    window = timedelta(days=Body.model_validate(campaign.body).window_days)
    campaign = move(
        session,
        settings,
        campaign_id,
        frm=("sending",),
        to="live",
        seen=version,
        actor=actor,
        action="campaign.live",
        at=now,
        window_ends_at=(campaign.sent_at or now) + window,
    )
    codes = coupons.issue(session, campaign_id, now)
    sends.queue(session, campaign, channel(settings), now)
    sizes = arms(session, campaign_id)
    owed = session.scalar(
        select(func.count()).where(
            Assignment.campaign_id == campaign_id,
            Assignment.arm == "treatment",
            Assignment.offer["action"].as_string().in_(CODED),
        )
    )
    if codes != owed:
        raise Conflict(
            gettext(
                "{owed} customers are to get a code and {codes} have one; please send it again."
            ).format(owed=owed, codes=codes)
        )
    return Sent(campaign, sizes["treatment"], sizes["control"], codes)


def codes(session: Session, campaign: Campaign) -> list[dict[str, Any]]:
    """One row for each customer in treatment: offer and (live) code. Nobody who is held out is among them."""
    rows = session.execute(
        select(
            Assignment.customer_id,
            Assignment.tier,
            Assignment.expected_value,
            Assignment.offer,
            Coupon.code,
            Coupon.expires_at,
            Coupon.state,
        )
        .outerjoin(
            Coupon,
            (Coupon.campaign_id == Assignment.campaign_id)
            & (Coupon.customer_id == Assignment.customer_id),
        )
        .where(Assignment.campaign_id == campaign.id, Assignment.arm == "treatment")
        .order_by(Assignment.customer_id)
    )
    return [row._asdict() for row in rows]
