"""Store opens and clicks of e-mails, with consent.

Links of an e-mail lead over this server, and a picture of one pixel shows that it was opened. Their
addresses hold the number of the send and of the link, signed, and nothing about the customer. The
pages are stored with the campaign, so a token cannot lead anywhere else.
"""

import html
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from sqlalchemy import ColumnElement, case, func, literal, select, update

from retention.db import Database, Transaction
from retention.db.insert import insert_once
from retention.db.tables import Assignment, CampaignLink, Coupon, MessageEvent, Send
from retention.keys import Keys, read_numbers, sign_numbers
from retention.outreach import machines
from retention.outreach.adapter import Contact, Message
from retention.outreach.consent import public_url
from retention.outreach.dispatch import ComposeMessage
from retention.outreach.sends import MANUAL_CHANNELS
from retention.privacy.erased import ERASED_PREFIX
from retention.risk.policy import Policy, Tracking

if TYPE_CHECKING:
    from retention.lake import Lake

Kind = Literal["open", "click"]
CLICK_PATH, OPEN_PATH = "/c/", "/o/"
BURST, BURST_LINKS = timedelta(seconds=5), 3  # nobody opens so many links within this time
_CODE = "{code}"
_LINK = re.compile(r'(<a\b[^>]*?\shref=")(https?://[^"\s]+)(")')
_URL_SIGNS = "%/:=&?~#+!$,;'@()*[]"
_BATCH = 500
_COLUMNS: Mapping[Kind, str] = {"open": "tracks_opens", "click": "tracks_clicks"}
_ANSWERS: Mapping[Tracking, tuple[bool | None, ...]] = {
    "off": (),
    "consent": (True,),
    "all": (True, None),
}


@dataclass(frozen=True, slots=True)
class Reach:
    """E-mails of a campaign: delivered, with a pixel or links of ours, opened and clicked.

    People only; ``machine`` counts e-mails that only machines opened. Whoever clicked has opened.
    """

    delivered: int = 0
    tracked: int = 0
    opened: int = 0
    clicked: int = 0
    machine: int = 0


# ------------------------------------------------------------ in the e-mail


def consenting(lake: "Lake", policy: Policy, ids: Iterable[str]) -> dict[Kind, set[str]]:
    """Return the customers whose opens and whose clicks may be stored.

    A refusal under any merged id counts.
    """
    customers = lake.table("customers")
    known = customers.filter(customers.tracking_consent.notnull())
    rows = known.select("customer_id", "tracking_consent").execute()
    answers = dict(rows.itertuples(index=False))
    canonical = lake.identities.canonical_ids()
    answer_of = {each: answers.get(canonical.get(each, each)) for each in ids}

    def whose(rule: Tracking) -> set[str]:
        return {each for each, answer in answer_of.items() if answer in _ANSWERS[rule]}

    return {"open": whose(policy.tracking.opens), "click": whose(policy.tracking.clicks)}


def mark_tracked(
    session: Transaction, campaign_id: str, consented: Mapping[Kind, Collection[str]]
) -> None:
    """Store which queued e-mails get a pixel and which get links of ours."""
    queued = Send.campaign_id == campaign_id, Send.state == "queued"
    nothing = dict.fromkeys(_COLUMNS.values(), False)
    session.change(update(Send).where(*queued).values(nothing))
    for kind, column in _COLUMNS.items():
        _set(session, column, True, consented[kind], *queued)


def tracked_customers(session: Transaction) -> set[str]:
    """Return the customers with a tracked e-mail, without erased ones."""
    tracked = session.own(Send).where(Send.tracks_opens | Send.tracks_clicks)
    ids = set(session.scalars(tracked.with_only_columns(Send.customer_id).distinct()))
    return {each for each in ids if not each.startswith(ERASED_PREFIX)}


def end_tracking(
    session: Transaction, customers: Collection[str], consented: Mapping[Kind, Collection[str]]
) -> None:
    """Stop tracking also the e-mails that went out to customers who have not consented any more.

    `customers`: of `tracked_customers`.
    """
    for kind, column in _COLUMNS.items():
        _set(session, column, False, set(customers) - set(consented[kind]))


def _set(
    session: Transaction,
    column: str,
    value: bool,
    customers: Collection[str],
    *which: ColumnElement[bool],
) -> None:
    """Set a column of some customers' sends."""
    ids = sorted(customers)
    for start in range(0, len(ids), _BATCH):
        some = Send.customer_id.in_(ids[start : start + _BATCH])
        session.change(update(Send).where(some, *which).values({column: value}))


def tracked_composer(database: Database, compose: ComposeMessage) -> ComposeMessage:
    """Return a composer that adds the pixel and our links to the e-mails marked for them.

    A new page is stored before the e-mail with its link goes out.
    """
    base, keys = public_url(database.settings), database.settings.keys
    stored = set[tuple[str, int]]()

    def make(send: Send, contact: Contact) -> Message:
        message = compose(send, contact)
        if not message.html or not (send.tracks_opens or send.tracks_clicks):
            return message
        code, pages = str(message.offer.get("code") or ""), dict[int, str]()

        def ours(url: str) -> str:
            if url == message.unsubscribe_url:
                return url
            page = url.replace(quote(code, safe=""), _CODE) if code else url
            number = link_number(page)
            pages[number] = page
            return f"{base}{CLICK_PATH}{sign_numbers(keys, 'click', send.id, number)}"

        text = with_links(message.html, ours) if send.tracks_clicks else message.html
        if send.tracks_opens:
            text = with_pixel(text, f"{base}{OPEN_PATH}{sign_numbers(keys, 'open', send.id)}")
        new = {(send.campaign_id, number) for number in pages} - stored
        if new:
            with database.transaction() as session:
                for campaign_id, number in sorted(new):
                    values = {"campaign_id": campaign_id, "number": number, "url": pages[number]}
                    team = session.settings.team_id
                    insert_once(session, CampaignLink, team_id=team, **values)
            stored.update(new)
        return replace(message, html=text)

    return make


def link_number(page: str) -> int:
    """Return the number of a page: 48 bits of its hash, and never 0."""
    return int.from_bytes(sha256(page.encode()).digest()[:6]) or 1


def with_links(text: str, ours: Callable[[str], str]) -> str:
    """Replace the pages that an e-mail links to.

    Examples
    --------
    >>> with_links('<a class="b" href="https://x.example/?a=1&amp;b=2">', lambda url: url[-3:])
    '<a class="b" href="b=2">'
    """

    def wrap(match: re.Match[str]) -> str:
        return f"{match[1]}{html.escape(ours(html.unescape(match[2])))}{match[3]}"

    return _LINK.sub(wrap, text)


def with_pixel(text: str, url: str) -> str:
    """Add a picture of one pixel at the end of an e-mail."""
    pixel = f'<img src="{html.escape(url)}" width="1" height="1" alt="" style="border:0" />'
    above, end, below = text.rpartition("</body>")
    return f"{above}{pixel}{end}{below}" if end else f"{text}{pixel}"


# ------------------------------------------------------------ when it is opened


def read_click(keys: Keys, token: str) -> tuple[int, int] | None:
    """Return send and link of a token; None if the signature is invalid."""
    numbers = read_numbers(keys, "click", token)
    return (numbers[0], numbers[1]) if numbers and len(numbers) == 2 else None


def read_open(keys: Keys, token: str) -> int | None:
    """Return the send of a pixel's token; None if the signature is invalid."""
    numbers = read_numbers(keys, "open", token)
    return numbers[0] if numbers and len(numbers) == 1 else None


def find_page(session: Transaction, send_id: int, link: int) -> str | None:
    """Return the page of a link, with ``{code}`` for the customer's code; None if unknown."""
    return session.scalar(
        select(CampaignLink.url)
        .join(Send, Send.campaign_id == CampaignLink.campaign_id)
        .where(Send.id == send_id, CampaignLink.number == link)
        .where(Send.team_id == session.settings.team_id)
    )


def own_page(session: Transaction, send_id: int, page: str) -> str:
    """Return a page with the code of the send's customer, as a URL for a header."""
    code = session.scalar(
        select(Coupon.code)
        .join(
            Send,
            (Send.campaign_id == Coupon.campaign_id) & (Send.customer_id == Coupon.customer_id),
        )
        .where(Send.id == send_id)
    )
    return header_url(page.replace(_CODE, quote(code or "", safe="")))


def header_url(page: str) -> str:
    """Return a page as a URL of ASCII signs; empty if it depends on the customer."""
    return "" if _CODE in page else quote(page, safe=_URL_SIGNS)


def record(
    session: Transaction, send_id: int, link: int, headers: Mapping[str, str], now: datetime
) -> None:
    """Store an open (link 0) or a click; nothing of erased customers, and without consent.

    Three links within seconds are a scanner's, so those before this one become a machine's, too.

    `headers`: of the request, by name in lower case.
    """
    send = session.scalar(session.own(Send, id=send_id))
    kind: Kind = "click" if link else "open"
    if send is None or send.customer_id.startswith(ERASED_PREFIX):
        return
    if not getattr(send, _COLUMNS[kind]):  # the consent was withdrawn since
        return
    reason = machines.machine_reason(headers) or machines.haste(send, now)
    if kind == "click" and reason is None:
        recent = session.own(MessageEvent, send_id=send_id, kind=kind, is_machine=False)
        recent = recent.where(MessageEvent.at > now - BURST, MessageEvent.link != link)
        burst = session.scalars(recent).all()
        if len(burst) >= BURST_LINKS - 1:
            reason = "many_links"
            for event in burst:
                session.delete(event)
                count_event(session, send, kind, event.at, event.link, reason)
    count_event(session, send, kind, now, link, reason or "")


def count_event(
    session: Transaction, send: Send, kind: Kind, at: datetime, link: int, reason: str
) -> None:
    """Store the first open or click of its kind, or count a further one."""
    if not store_event(session, send, kind, at, link=link, reason=reason):
        event, is_machine = MessageEvent, bool(reason)
        own = update(event).filter_by(send_id=send.id, kind=kind, link=link, is_machine=is_machine)
        session.change(own.values(times=event.times + 1))


def store_event(
    session: Transaction, send: Send, kind: Kind, at: datetime, *, link: int = 0, reason: str = ""
) -> bool:
    """Store an open or click unless it is known.

    `reason`: why no person did it.
    """
    key = {"send_id": send.id, "kind": kind, "link": link, "is_machine": bool(reason)}
    whose = {name: getattr(send, name) for name in ("team_id", "campaign_id", "customer_id")}
    return insert_once(session, MessageEvent, **key, **whose, reason=reason, at=at)


# ------------------------------------------------------------ what is known


def counts(session: Transaction, campaign_id: str, group: str | None = None) -> dict[str, Reach]:
    """Count a campaign's delivered, opened and clicked e-mails, by group.

    `group`: ``variant``, or a key of the assignment's offer such as ``rule``; None puts all into
    one group with an empty name.
    """
    event, is_person = MessageEvent, MessageEvent.is_machine.is_(False)
    did = (
        select(
            event.send_id,
            func.max(_one(is_person)).label("opened"),
            func.max(_one(is_person & (event.kind == "click"))).label("clicked"),
        )
        .where(event.campaign_id == campaign_id)
        .group_by(event.send_id)
        .subquery()
    )
    is_tracked = Send.tracks_opens | Send.tracks_clicks
    figures = (
        func.count(),
        func.sum(_one(is_tracked)),
        func.sum(did.c.opened),
        func.sum(did.c.clicked),
        func.sum(1 - did.c.opened),
    )
    name: ColumnElement[str] = literal("")
    if group == "variant":
        name = func.coalesce(Assignment.variant, "")
    elif group:
        name = Assignment.offer[group].as_string()
    delivered = (
        select(name, *figures)
        .select_from(Send)
        .outerjoin(did, (did.c.send_id == Send.id) & is_tracked)
        .where(Send.campaign_id == campaign_id, Send.state == "sent")
        .where(Send.channel.not_in(MANUAL_CHANNELS))
    )
    if group:
        in_campaign = Assignment.campaign_id == Send.campaign_id
        is_assigned = in_campaign & (Assignment.customer_id == Send.customer_id)
        delivered = delivered.join(Assignment, is_assigned).group_by(name)
    rows = session.execute(delivered)
    return {key or "": Reach(*(int(number or 0) for number in numbers)) for key, *numbers in rows}


def reach(session: Transaction, campaign_id: str) -> dict[str, int] | None:
    """Return the counts of a whole campaign; None if no e-mail is tracked."""
    total = counts(session, campaign_id)[""]
    return asdict(total) if total.tracked else None


def _one(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def customers(session: Transaction, kind: Kind, since: datetime, until: datetime) -> set[str]:
    """Return the customers who opened or clicked an e-mail in ``[since, until)``."""
    did = select(MessageEvent.customer_id).where(
        MessageEvent.team_id == session.settings.team_id,
        MessageEvent.at >= since,
        MessageEvent.at < until,
        *_by_person(kind),
    )
    return set(session.scalars(did))


def own_times(
    session: Transaction, since: datetime, until: datetime
) -> dict[tuple[str, str], list[datetime]]:
    """Return when people opened or clicked e-mails in ``[since, until]``, by customer and kind."""
    times: dict[tuple[str, str], list[datetime]] = {}
    seen = session.own(MessageEvent, is_machine=False)
    for event in session.scalars(seen.where(MessageEvent.at.between(since, until))):
        times.setdefault((event.customer_id, event.kind), []).append(event.at)
    return times


def latest(session: Transaction, ids: Collection[str], until: datetime) -> dict[Kind, datetime]:
    """Return when a customer last opened and last clicked an e-mail before a moment."""
    found = dict[Kind, datetime]()
    kinds: tuple[Kind, ...] = ("open", "click")
    for kind in kinds:
        own = select(func.max(MessageEvent.at)).filter_by(team_id=session.settings.team_id)
        before = MessageEvent.customer_id.in_(ids), MessageEvent.at < until
        if at := session.scalar(own.where(*before, *_by_person(kind))):
            found[kind] = at
    return found


def _by_person(kind: Kind) -> tuple[ColumnElement[bool], ...]:
    """Whether a person opened or clicked; whoever clicked has opened."""
    kinds = (kind,) if kind == "click" else ("open", "click")
    return MessageEvent.is_machine.is_(False), MessageEvent.kind.in_(kinds)


def lake_events(
    session: Transaction, since: datetime, until: datetime, now: datetime
) -> list[dict[str, str | int]]:
    """Return opens and clicks of ``[since, until)`` by people as events of the lake.

    The lake knows them from now on. Their ids make appending them again harmless.
    """
    by_people = session.own(MessageEvent, is_machine=False).where(
        MessageEvent.at >= since,
        MessageEvent.at < until,
        ~MessageEvent.customer_id.startswith(ERASED_PREFIX),
    )
    return [
        lake_event(event.customer_id, event.kind, event.at, now, "tracking")
        | {"event_id": f"message:{event.id}", "query": event.campaign_id}
        for event in session.scalars(by_people.order_by(MessageEvent.id))
    ]


def lake_event(
    customer: str, kind: str, at: datetime, now: datetime, source: str
) -> dict[str, str | int]:
    """Return an open or click as an event of the lake, which knows it from now on."""
    moments = {"occurred_at": at, "available_at": max(at, now)}
    return {
        "customer_id": customer,
        "event_type": f"email_{kind}",
        **{name: int(moment.timestamp() * 1e6) for name, moment in moments.items()},
        "channel": "email",
        "source": source,
    }
