"""Where people decide: run the linking, look at pairs with their evidence, accept, reject, undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db import Database
from retention.db.tables import Assignment, Campaign
from retention.errors import BadInput
from retention.lake import directory
from retention.lake.identity import exact, keys, links, probabilistic
from retention.lake.identity.rules import IdentityRules, load
from retention.lake.lake import Lake
from retention.lake.schema import LINK_STATES
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

FROM = {
    "accepted": ("proposed", "rejected", "undone"),
    "rejected": ("proposed",),
    "undone": ("accepted",),
}
VERB = {"accepted": "accept", "rejected": "reject", "undone": "undo"}
LIVE = ("approved", "scheduled", "sending", "live", "measuring")
_SHOWN = ("name", "email", "phone", "created_at")


def link(
    lake: Lake,
    database: Database,
    settings: Settings,
    *,
    by: str,
    accept: float | None = None,
    review: float | None = None,
    likeness: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Link by shared keys, then by likeness; the directory follows.

    Parameters
    ----------
    accept, review : float, optional
        Probabilities; by default the policy's.
    likeness : bool
        Whether to look for those who are alike, too.

    Raises
    ------
    BadInput
        Where ``review`` is above ``accept``.
    """
    started = perf_counter()
    rules = load(settings)
    accept, review = accept or rules.accept, review or min(rules.review, accept or rules.accept)
    if review > accept:
        raise BadInput(
            gettext(
                "--review {review} is above --threshold {accept}; take it at most as high."
            ).format(review=review, accept=accept)
        )
    progress(0, 10, "Linking by shared keys")
    by_key = exact.link(lake, rules, by=by)
    alike = (
        probabilistic.link(lake, rules, accept=accept, review=review, by=by, progress=progress)
        if likeness
        else None
    )
    with database.transaction() as session:
        directory.sync(lake, session, settings)
        both = both_arms(lake, session, settings)
    return {
        "exact": by_key.as_dict(),
        "probable": alike and alike.as_dict(),
        "accept": accept,
        "review": review,
        "both_arms": list(both),
        "seconds": round(perf_counter() - started, 3),
    }


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided on which pairs; of those undone, which pairs are one customer still, and through which links."""

    state: str
    links: tuple[dict[str, Any], ...]
    still_one: tuple[dict[str, Any], ...] = ()
    both_arms: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def decide(
    lake: Lake, database: Database, settings: Settings, ids: Sequence[str], state: str, *, by: str
) -> Decided:
    """Accept, reject or undo links; the directory follows.

    Parameters
    ----------
    ids : sequence of str
        Ids of links. All are decided on, or none.
    state : {"accepted", "rejected", "undone"}
    by : str
        Who decides.

    Raises
    ------
    BadInput
        A link that is not there, or that is in no state for it.
    """
    wanted = list(dict.fromkeys(ids))
    with links.writing(lake) as log:
        held = {row["link_id"]: row for row in links.described(lake)}
        for one in wanted:
            _may(held, one, state)
        rows = _rows([held[one] for one in wanted], state)
        links.add(lake, log, rows, by)
    with database.transaction() as session:
        directory.sync(lake, session, settings)
        both = both_arms(lake, session, settings) if state == "accepted" else ()
    told = tuple(_pair(held[one]) | {"state": state} for one in wanted)
    return Decided(state, told, _still_one(lake, told) if state == "undone" else (), both)


def _may(held: dict[str, dict[str, Any]], one: str, state: str) -> None:
    if one not in held:
        near = get_close_matches(one, list(held), n=1, cutoff=0.6)
        hint = (
            f" did you mean {near[0]}?"
            if near
            else " `retention identity review` lists those to decide on, `retention identity show CUSTOMER` those of a customer."
        )
        raise BadInput(gettext("There is no link {one!r};{hint}").format(one=one, hint=hint))
    if (now := held[one]["state"]) not in FROM[state]:
        may = " or ".join(FROM[state])
        raise BadInput(
            gettext("Link {one} is {now}; only one that is {may} can be {state}.").format(
                one=one, now=now, may=may, state=state
            )
        )


def _rows(held: list[dict[str, Any]], state: str) -> pd.DataFrame:
    import pandas as pd

    columns = [*exact.COLUMNS]
    return pd.DataFrame([{name: row[name] for name in columns} for row in held]).assign(state=state)


def _still_one(lake: Lake, undone: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Undone pairs that other links hold together all the same."""
    people = lake.identities.people()
    found = []
    for pair in undone:
        who = people.get(pair["customer_id"], pair["customer_id"])
        if who == people.get(pair["same_as"], pair["same_as"]):
            ids = set(links.ids_of(lake, who))
            through = [
                row["link_id"]
                for row in links.described(lake)
                if row["state"] == "accepted" and row["customer_id"] in ids
            ]
            found.append({"link_id": pair["link_id"], "customer_id": who, "through": through})
    return tuple(found)


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    import json

    evidence = row["evidence"]
    return {
        "link_id": row["link_id"],
        "customer_id": row["customer_id"],
        "same_as": row["same_as"],
        "method": row["method"],
        "probability": float(row["probability"]),
        "state": row["state"],
        "evidence": json.loads(evidence) if isinstance(evidence, str) else evidence or {},
        "decided_at": row["decided_at"].isoformat(),
        "decided_by": row["decided_by"],
    }


def review(lake: Lake, *, state: str = "proposed") -> list[dict[str, Any]]:
    """The pairs in a state, the likeliest first, each with what is known of both sides.

    Of those that are proposed, only the ones that other links have not made one customer meanwhile.
    """
    held = [row for row in links.described(lake) if row["state"] == state]
    pairs = _told(lake, _open(lake, held) if state == "proposed" else held)
    return sorted(pairs, key=lambda pair: (-pair["probability"], pair["link_id"]))


def of_customer(lake: Lake, customer_id: str) -> dict[str, Any]:
    """The ids that are one customer, the canonical one first, and every link between any of them and another id.

    Returns
    -------
    dict
        ``ids``, and ``pairs`` as `review` has them: accepted ones, and what was proposed, rejected or undone.
    """
    ids = links.ids_of(lake, customer_id)
    held = [row for row in links.described(lake) if {row["customer_id"], row["same_as"]} & {*ids}]
    told = sorted(
        _told(lake, held), key=lambda pair: (LINK_STATES.index(pair["state"]), pair["link_id"])
    )
    return {"ids": list(ids), "pairs": told}


def _told(lake: Lake, held: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Links with what is known of both sides."""
    pairs = [_pair(row) for row in held]
    customers = lake.table("customers", identity="stored")
    ids = {pair[side] for pair in pairs for side in ("customer_id", "same_as")}
    known: dict[str, dict[str, Any]] = {}
    if ids:
        rows = customers.filter(customers.customer_id.isin(sorted(ids))).select(
            "customer_id", *_SHOWN
        )
        frame = rows.mutate(created_at=rows.created_at.cast("string")).to_pyarrow()
        known = {row.pop("customer_id"): row for row in frame.to_pylist()}
    return [
        pair
        | {"later": known.get(pair["customer_id"], {}), "earlier": known.get(pair["same_as"], {})}
        for pair in pairs
    ]


def _open(lake: Lake, held: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The links between ids that are not one customer."""
    people = lake.identities.people()
    return [
        row
        for row in held
        if people.get(row["customer_id"], row["customer_id"])
        != people.get(row["same_as"], row["same_as"])
    ]


def status(
    lake: Lake, session: Session, settings: Settings, rules: IdentityRules
) -> dict[str, Any]:
    """How many links there are in which state, how many customers they make, and what links nobody."""
    held = links.described(lake)
    people = lake.identities.people()
    merged = set(people.values())
    waiting = _open(lake, [row for row in held if row["state"] == "proposed"])
    keys.collect(lake, rules)
    return {
        "links": dict.fromkeys(LINK_STATES, 0)
        | Counter(row["state"] for row in held)
        | {"proposed": len(waiting)},
        "methods": dict(Counter(row["method"] for row in held if row["state"] == "accepted")),
        "merged_ids": len(people),
        "merged_customers": len(merged),
        "largest": max(Counter(people.values()).values(), default=0) + bool(people),
        "latest_at": max((row["decided_at"] for row in held), default=None),
        "shared": [asdict(key) for key in exact.shared_keys(lake, rules)],
        "both_arms": list(both_arms(lake, session, settings)),
        "accept": rules.accept,
        "review": rules.review,
    }


def write_csv(pairs: list[dict[str, Any]], path: Path) -> None:
    """The pairs of `review` as a file, one row each; what spreadsheets would take for a formula is escaped."""
    import pandas as pd

    from retention.csv import to_csv

    rows = [
        {
            name: pair[name]
            for name in ("link_id", "probability", "method", "customer_id", "same_as")
        }
        | {
            f"{side}_{name}": pair[side].get(name)
            for side in ("earlier", "later")
            for name in _SHOWN
        }
        | {"evidence": ", ".join(f"{name}: {how}" for name, how in pair["evidence"].items())}
        for pair in pairs
    ]
    path.write_bytes(to_csv(pd.DataFrame(rows)))


def both_arms(lake: Lake, session: Session, settings: Settings) -> tuple[dict[str, Any], ...]:
    """Live campaigns in which one customer, merged since, is in treatment by one id and in control by another."""
    people = lake.identities.people()
    if not people:
        return ()
    ids = {*people, *people.values()}
    rows = session.execute(
        select(Campaign.id, Campaign.name, Assignment.customer_id, Assignment.arm)
        .join(Assignment, Assignment.campaign_id == Campaign.id)
        .where(
            Campaign.team_id == settings.team_id,
            Campaign.state.in_(LIVE),
            Assignment.arm.in_(("treatment", "control")),
        )
    )
    arms: dict[tuple[str, str, str], set[str]] = {}
    for campaign, name, customer, arm in rows:
        if customer in ids:
            arms.setdefault((campaign, name, people.get(customer, customer)), set()).add(arm)
    mixed = Counter(
        (campaign, name) for (campaign, name, _), found in arms.items() if len(found) > 1
    )
    return tuple(
        {"campaign_id": campaign, "name": name, "customers": number}
        for (campaign, name), number in sorted(mixed.items())
    )
