"""Make an approved campaign live.

E-mails are queued here and sent by `retention.outreach.dispatch`.

Codes are reserved in batches, the lake's rows are written, then codes and state change in one
transaction. Each step can be repeated. Until `go_live` commits, no customer has a code, and the
shop has none either (`shop_codes`).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from retention.campaigns import audience, coupons, shop_codes
from retention.campaigns.approval import schedule
from retention.campaigns.assignment import exclude_customers, group_sizes, require_recipients
from retention.campaigns.spec import Body
from retention.campaigns.states import IN_CLEARANCE, StaleCampaign, find_campaign, move_campaign
from retention.db import Database
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.errors import Conflict
from retention.outreach import sends
from retention.outreach.dispatch import sending_channel
from retention.risk.strategy import CODED
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

_NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class SendingResult:
    """A live campaign with its group sizes and codes."""

    campaign: Campaign
    treated: int
    control: int
    codes: int


class StartedSending(NamedTuple):
    """A campaign in state ``sending`` and the customers excluded just now."""

    campaign: Campaign
    left_out: int


def returned_since_draft(
    database: Database, settings: Settings, lake: "Lake", campaign_id: str, now: datetime
) -> set[str]:
    """Return assigned customers with an order since the draft.

    Applies to both groups.

    Parameters
    ----------
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    lake : Lake
        The shop's lake.
    campaign_id : str
        Campaign id.
    now : datetime
        Business time.

    Returns
    -------
    set of str
    """
    with database.reading() as session:
        campaign = find_campaign(session, settings, campaign_id)
        is_assigned = (
            Assignment.campaign_id == campaign_id,
            Assignment.arm.in_(("treatment", "control")),
        )
        customers = session.scalars(select(Assignment.customer_id).where(*is_assigned)).all()
    return audience.returned_customers(
        lake, customers, Body.model_validate(campaign.body).as_of, now
    )


def merged_duplicates(
    database: Database, settings: Settings, lake: "Lake", campaign_id: str
) -> set[str]:
    """Return assigned ids that duplicate another id of the same customer.

    One id per customer stays, in either group.

    Parameters
    ----------
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    lake : Lake
        The shop's lake.
    campaign_id : str
        Campaign id.

    Returns
    -------
    set of str
    """
    canonical = lake.identities.canonical_ids()
    with database.reading() as session:
        find_campaign(session, settings, campaign_id)
        is_assigned = (
            Assignment.campaign_id == campaign_id,
            Assignment.arm.in_(("treatment", "control")),
        )
        customers = (
            session.scalars(select(Assignment.customer_id).where(*is_assigned)).all()
            if canonical
            else []
        )
    kept_ids: dict[str, str] = {}
    # Canonical ids first.
    for customer_id in sorted(
        customers, key=lambda customer_id: (customer_id in canonical, customer_id)
    ):
        kept_ids.setdefault(canonical.get(customer_id, customer_id), customer_id)
    return set(customers) - set(kept_ids.values())


def begin_sending(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    actor: str,
    now: datetime,
    excluded: Collection[str] = (),
) -> StartedSending:
    """Start sending after the clearance time; resume a killed run.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    version : int
        Version that the person saw.
    actor : str
        Slack user id, or ``clock``.
    now : datetime
        Business time.
    excluded : collection of str, optional
        Customers to exclude from both groups. A resumed run excludes none, because their codes are
        reserved.

    Returns
    -------
    StartedSending

    Raises
    ------
    Conflict
        The clearance time is running, or the campaign has no recipients left.
    StaleCampaign
        Stopped, edited or already live.
    """
    campaign = find_campaign(session, settings, campaign_id)
    if campaign.state == "sending" and campaign.version == version:
        return StartedSending(_restart_window(session, settings, campaign, now), 0)
    if campaign.state in IN_CLEARANCE and campaign.send_at is not None and campaign.send_at > now:
        raise Conflict(
            gettext(
                "Campaign {name!r} is in its clearance time until {send_at:%d %b %Y, %H:%M} "
                "UTC; until then it can be stopped, not sent."
            ).format(name=campaign.name, send_at=campaign.send_at)
        )
    if campaign.state == "approved" and campaign.version == version:  # not scheduled by a tick yet
        schedule(session, settings, campaign_id, now)
    in_time = or_(Campaign.expires_at.is_(None), Campaign.expires_at > now)
    campaign = move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("scheduled",),
        to_state="sending",
        seen_version=version,
        actor=actor,
        action="campaign.sending",
        at=now,
        conditions=(Campaign.send_at <= now, in_time),
        sent_at=now,
        details={"left_out": len(excluded)} if excluded else None,
    )
    if excluded:
        require_recipients(
            campaign, exclude_customers(session, campaign, excluded), has_returned=True
        )
    return StartedSending(campaign, len(excluded))


def _restart_window(
    session: Session, settings: Settings, campaign: Campaign, now: datetime
) -> Campaign:
    """Restart window and codes of a resumed run.

    Days may have passed, and no customer received anything.
    """
    in_state = (
        Campaign.id == campaign.id,
        Campaign.state == "sending",
        Campaign.version == campaign.version,
    )
    update_result = session.execute(
        update(Campaign).where(*in_state).values(sent_at=now), execution_options=_NO_SYNC
    )
    if update_result.rowcount:  # type: ignore[attr-defined]
        coupons.extend_codes(session, campaign.id, _valid_until(settings, campaign, now))
    session.refresh(campaign)
    return campaign


def _valid_until(settings: Settings, campaign: Campaign, sent_at: datetime) -> datetime:
    return coupons.valid_until(
        sent_at, Body.model_validate(campaign.body).expires_days, settings.zone
    )


def reserve_all_codes(
    database: Database, settings: Settings, campaign_id: str, version: int
) -> Iterator[tuple[int, int]]:
    """Reserve a code per treated customer, one batch per transaction.

    Parameters
    ----------
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    version : int
        Version that the person saw.

    Yields
    ------
    tuple[int, int]
        Reserved and needed codes after each batch.

    Raises
    ------
    StaleCampaign
        The campaign was stopped meanwhile.
    """
    while True:
        with database.transaction() as session:
            campaign = find_campaign(session, settings, campaign_id)
            if campaign.state != "sending" or campaign.version != version:
                raise StaleCampaign(campaign, version)
            assert campaign.sent_at is not None
            expires_at = _valid_until(settings, campaign, campaign.sent_at)
            missing = coupons.reserve_codes(session, settings.team_id, campaign_id, expires_at)
            reserved = (
                session.scalar(select(func.count()).where(Coupon.campaign_id == campaign_id)) or 0
            )
        yield reserved, reserved + missing
        if not missing:
            return


def treatment_rows(session: Session, campaign: Campaign) -> "pd.DataFrame":
    """Return the campaign's rows for the lake's ``treatments``.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign : Campaign
        The campaign.

    Returns
    -------
    DataFrame
    """
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


def unreceived_treatments(lake: "Lake", session: Session, settings: Settings) -> "pd.DataFrame":
    """Return keys of ``treatments`` that customers never received.

    These belong to campaigns stopped before the message went out. Campaigns from before sends were
    stored are skipped. Other treatments keep counting as assigned, in both groups.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.

    Returns
    -------
    DataFrame
    """
    import pandas as pd

    treatments = lake.table("treatments", identity="stored")
    treatments = treatments.filter(treatments.arm == "treatment")
    campaign_ids = list(treatments.select("campaign_id").distinct().execute()["campaign_id"])
    in_campaign = Send.campaign_id == Campaign.id
    was_contacted = exists().where(
        in_campaign,
        Send.customer_id == Assignment.customer_id,
        Send.state.in_(sends.CONTACT_STATES),
    )
    rows = session.execute(
        select(Assignment.campaign_id, Assignment.customer_id)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(
            Campaign.team_id == settings.team_id,
            Campaign.state == "cancelled",
            Campaign.id.in_(campaign_ids),
            Assignment.arm == "treatment",
            or_(Campaign.window_ends_at.is_(None), exists().where(in_campaign)),
            ~was_contacted,
        )
    )
    keys = pd.DataFrame(list(rows.tuples()), columns=["campaign_id", "customer_id"])
    treatments = treatments.filter(treatments.campaign_id.isin(sorted(set(keys["campaign_id"]))))
    return treatments.select(*keys.columns).execute().merge(keys)


def go_live(
    session: Session, settings: Settings, campaign_id: str, version: int, actor: str, now: datetime
) -> SendingResult:
    """Change from sending to live and issue all codes.

    The measurement window begins.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    version : int
        Version that the person saw.
    actor : str
        Slack user id, or ``clock``.
    now : datetime
        Business time.

    Returns
    -------
    SendingResult

    Raises
    ------
    StaleCampaign
        Stopped or already live; nothing is issued.
    Conflict
        A treated customer has no code.
    """
    campaign = find_campaign(session, settings, campaign_id)
    window = timedelta(days=Body.model_validate(campaign.body).window_days)
    campaign = move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("sending",),
        to_state="live",
        seen_version=version,
        actor=actor,
        action="campaign.live",
        at=now,
        window_ends_at=(campaign.sent_at or now) + window,
    )
    codes = coupons.issue_codes(session, campaign_id, now)
    shop_codes.queue_codes(session, settings, campaign, now)
    channel = sending_channel(settings, Body.model_validate(campaign.body).message_channel)
    sends.queue_sends(session, campaign, channel, now)
    sizes = group_sizes(session, campaign_id)
    needed = session.scalar(
        select(func.count()).where(
            Assignment.campaign_id == campaign_id,
            Assignment.arm == "treatment",
            Assignment.offer["action"].as_string().in_(CODED),
        )
    )
    if codes != needed:
        raise Conflict(
            gettext(
                "{owed} customers are to get a code and {codes} have one; please send it again."
            ).format(owed=needed, codes=codes)
        )
    return SendingResult(campaign, sizes["treatment"], sizes["control"], codes)


def recipient_rows(
    session: Session, campaign: Campaign, customer_id: str | None = None
) -> list[dict[str, Any]]:
    """Return offer and code of each treated customer.

    Customers in the hold-out group are never included.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign : Campaign
        The campaign.
    customer_id : str, optional
        Only this customer's row.

    Returns
    -------
    list[dict[str, Any]]
    """
    only = () if customer_id is None else (Assignment.customer_id == customer_id,)
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
        .where(Assignment.campaign_id == campaign.id, Assignment.arm == "treatment", *only)
        .order_by(Assignment.customer_id)
    )
    return [row._asdict() for row in rows]
