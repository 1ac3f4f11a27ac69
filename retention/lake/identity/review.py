"""Run the linking, and review its links."""

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
from retention.lake import customer_directory
from retention.lake.identity import exact, keys, links, probabilistic
from retention.lake.identity.keys import IdentityRules, load_rules
from retention.lake.lake import Lake
from retention.lake.schema import LINK_STATES
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

# New state → states that a link may come from.
TRANSITIONS = {
    "accepted": ("proposed", "rejected", "undone"),
    "rejected": ("proposed",),
    "undone": ("accepted",),
}
LIVE_STATES = ("approved", "scheduled", "sending", "live", "measuring")
_SHOWN = ("name", "email", "phone", "created_at")


def link(
    lake: Lake,
    database: Database,
    settings: Settings,
    *,
    by: str,
    accept: float | None = None,
    review: float | None = None,
    with_similarity: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Link customers and update the directory.

    Parameters
    ----------
    lake : Lake
    database : Database
    settings : Settings
    by : str
        User.
    accept, review : float, optional
        Minimum probabilities of accepted and proposed links. Default: from the policy.
    with_similarity : bool
        Whether to link by similarity, too.
    progress : Progress

    Returns
    -------
    dict
        JSON of both results, thresholds, seconds, and campaigns of `campaigns_with_both_arms`.

    Raises
    ------
    BadInput
        If ``review`` is above ``accept``.
    """
    started = perf_counter()
    rules = load_rules(settings)
    accept, review = accept or rules.accept, review or min(rules.review, accept or rules.accept)
    if review > accept:
        raise BadInput(
            gettext(
                "--review {review} is above --threshold {accept}; take it at most as high."
            ).format(review=review, accept=accept)
        )
    progress(0, 10, gettext("Linking by shared keys"))
    by_key = exact.link(lake, rules, by=by)
    by_similarity = (
        probabilistic.link(lake, rules, accept=accept, review=review, by=by, progress=progress)
        if with_similarity
        else None
    )
    customer_directory.sync(lake, database, settings)
    with database.reading() as session:
        mixed_campaigns = campaigns_with_both_arms(lake, session, settings)
    return {
        "exact": by_key.as_dict(),
        "probable": by_similarity and by_similarity.as_dict(),
        "accept": accept,
        "review": review,
        "both_arms": list(mixed_campaigns),
        "seconds": round(perf_counter() - started, 3),
    }


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on links.

    Attributes
    ----------
    state : str
        New state of the links.
    links : tuple of dict
        The links.
    still_one : tuple of dict
        Undone pairs that other links still connect, and those links.
    both_arms : tuple of dict
        As from `campaigns_with_both_arms`.
    """

    state: str
    links: tuple[dict[str, Any], ...]
    still_one: tuple[dict[str, Any], ...] = ()
    both_arms: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the decision for JSON."""
        return asdict(self)


def decide(
    lake: Lake, database: Database, settings: Settings, ids: Sequence[str], state: str, *, by: str
) -> Decision:
    """Accept, reject or undo links.

    The directory is updated.

    Parameters
    ----------
    lake : Lake
    database : Database
    settings : Settings
    ids : sequence of str
        Ids of links. Either all of them change, or none.
    state : {"accepted", "rejected", "undone"}
        New state.
    by : str
        User.

    Returns
    -------
    Decision

    Raises
    ------
    BadInput
        If a link does not exist, or its state does not allow the change.
    """
    link_ids = list(dict.fromkeys(ids))
    with links.locked_log(lake) as log:
        decisions = {row["link_id"]: row for row in links.latest_decisions(lake)}
        for link_id in link_ids:
            _check_transition(decisions, link_id, state)
        rows = _rows([decisions[link_id] for link_id in link_ids], state)
        links.add(lake, log, rows, by)
    customer_directory.sync(lake, database, settings)
    with database.reading() as session:
        mixed_campaigns = (
            campaigns_with_both_arms(lake, session, settings) if state == "accepted" else ()
        )
    pairs = tuple(_pair(decisions[link_id]) | {"state": state} for link_id in link_ids)
    still_one = _still_one(lake, pairs) if state == "undone" else ()
    return Decision(state, pairs, still_one, mixed_campaigns)


def _check_transition(decisions: dict[str, dict[str, Any]], link_id: str, state: str) -> None:
    if link_id not in decisions:
        close = get_close_matches(link_id, list(decisions), n=1, cutoff=0.6)
        message = (
            gettext("There is no link {link_id!r}; did you mean {suggestion}?")
            if close
            else gettext(
                "There is no link {link_id!r}; `retention identity review` lists those to decide "
                "on, `retention identity show CUSTOMER` those of a customer."
            )
        )
        raise BadInput(message.format(link_id=link_id, suggestion=close[0] if close else ""))
    if (current := decisions[link_id]["state"]) not in TRANSITIONS[state]:
        raise BadInput(
            gettext(
                "Link {link_id} is {current}; only one that is {allowed} can be {state}."
            ).format(
                link_id=link_id,
                current=current,
                allowed=" or ".join(TRANSITIONS[state]),
                state=state,
            )
        )


def _rows(decisions: list[dict[str, Any]], state: str) -> pd.DataFrame:
    import pandas as pd

    columns = [*exact.LINK_COLUMNS]
    return pd.DataFrame([{name: row[name] for name in columns} for row in decisions]).assign(
        state=state
    )


def _still_one(lake: Lake, undone: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Find undone pairs that other links still connect."""
    canonical_ids = lake.identities.canonical_ids()
    connected = []
    for pair in undone:
        customer = canonical_ids.get(pair["customer_id"], pair["customer_id"])
        if customer == canonical_ids.get(pair["same_as"], pair["same_as"]):
            ids = set(links.ids_of(lake, customer))
            through = [
                row["link_id"]
                for row in links.latest_decisions(lake)
                if row["state"] == "accepted" and row["customer_id"] in ids
            ]
            connected.append(
                {"link_id": pair["link_id"], "customer_id": customer, "through": through}
            )
    return tuple(connected)


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
    """Return pairs in a state, most probable first.

    Proposed pairs that other links have merged meanwhile are left out.

    Parameters
    ----------
    lake : Lake
    state : str
        State of the links.

    Returns
    -------
    list of dict
        Columns of the link, and the customers as ``later`` and ``earlier``.
    """
    rows = [row for row in links.latest_decisions(lake) if row["state"] == state]
    pairs = _with_customers(lake, _unmerged(lake, rows) if state == "proposed" else rows)
    return sorted(pairs, key=lambda pair: (-pair["probability"], pair["link_id"]))


def customer_links(lake: Lake, customer_id: str) -> dict[str, Any]:
    """Return all ids and links of a customer.

    Parameters
    ----------
    lake : Lake
    customer_id : str
        Any id of the customer.

    Returns
    -------
    dict
        ``ids``, the canonical one first, and ``pairs`` in any state, as from `review`.
    """
    ids = links.ids_of(lake, customer_id)
    rows = [
        row for row in links.latest_decisions(lake) if {row["customer_id"], row["same_as"]} & {*ids}
    ]
    pairs = sorted(
        _with_customers(lake, rows),
        key=lambda pair: (LINK_STATES.index(pair["state"]), pair["link_id"]),
    )
    return {"ids": list(ids), "pairs": pairs}


def _with_customers(lake: Lake, links_: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the fields of both customers to links."""
    pairs = [_pair(link) for link in links_]
    customers = lake.table("customers", identity="stored")
    ids = {pair[side] for pair in pairs for side in ("customer_id", "same_as")}
    fields: dict[str, dict[str, Any]] = {}
    if ids:
        rows = customers.filter(customers.customer_id.isin(sorted(ids))).select(
            "customer_id", *_SHOWN
        )
        frame = rows.mutate(created_at=rows.created_at.cast("string")).to_pyarrow()
        fields = {row.pop("customer_id"): row for row in frame.to_pylist()}
    return [
        pair
        | {"later": fields.get(pair["customer_id"], {}), "earlier": fields.get(pair["same_as"], {})}
        for pair in pairs
    ]


def _unmerged(lake: Lake, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Select links between different customers."""
    canonical_ids = lake.identities.canonical_ids()
    return [
        row
        for row in rows
        if canonical_ids.get(row["customer_id"], row["customer_id"])
        != canonical_ids.get(row["same_as"], row["same_as"])
    ]


def status(
    lake: Lake, session: Session, settings: Settings, rules: IdentityRules
) -> dict[str, Any]:
    """Count links, merged customers and shared keys.

    Parameters
    ----------
    lake : Lake
    session : Session
    settings : Settings
    rules : IdentityRules

    Returns
    -------
    dict
        JSON.
    """
    rows = links.latest_decisions(lake)
    canonical_ids = lake.identities.canonical_ids()
    ids_per_customer = Counter(canonical_ids.values())
    waiting = _unmerged(lake, [row for row in rows if row["state"] == "proposed"])
    keys.collect(lake, rules)
    return {
        "links": dict.fromkeys(LINK_STATES, 0)
        | Counter(row["state"] for row in rows)
        | {"proposed": len(waiting)},
        "methods": dict(Counter(row["method"] for row in rows if row["state"] == "accepted")),
        "merged_ids": len(canonical_ids),
        "merged_customers": len(ids_per_customer),
        "largest": max(ids_per_customer.values(), default=0) + bool(canonical_ids),
        "latest_at": max((row["decided_at"] for row in rows), default=None),
        "shared": [asdict(key) for key in exact.shared_keys(lake, rules)],
        "both_arms": list(campaigns_with_both_arms(lake, session, settings)),
        "accept": rules.accept,
        "review": rules.review,
    }


def write_csv(pairs: list[dict[str, Any]], path: Path) -> None:
    """Write pairs to a CSV file, escaping formulas.

    Parameters
    ----------
    pairs : list of dict
        As from `review`.
    path : Path
        Target file.
    """
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
        | {"evidence": ", ".join(f"{name}: {level}" for name, level in pair["evidence"].items())}
        for pair in pairs
    ]
    path.write_bytes(to_csv(pd.DataFrame(rows)))


def campaigns_with_both_arms(
    lake: Lake, session: Session, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Find campaigns with a customer in both arms.

    Only live campaigns and merged customers count.

    Parameters
    ----------
    lake : Lake
    session : Session
    settings : Settings

    Returns
    -------
    tuple of dict
        ``campaign_id``, ``name`` and number of ``customers``.
    """
    canonical_ids = lake.identities.canonical_ids()
    if not canonical_ids:
        return ()
    ids = {*canonical_ids, *canonical_ids.values()}
    rows = session.execute(
        select(Campaign.id, Campaign.name, Assignment.customer_id, Assignment.arm)
        .join(Assignment, Assignment.campaign_id == Campaign.id)
        .where(
            Campaign.team_id == settings.team_id,
            Campaign.state.in_(LIVE_STATES),
            Assignment.arm.in_(("treatment", "control")),
        )
    )
    arms: dict[tuple[str, str, str], set[str]] = {}
    for campaign, name, customer, arm in rows:
        if customer in ids:
            canonical = canonical_ids.get(customer, customer)
            arms.setdefault((campaign, name, canonical), set()).add(arm)
    mixed = Counter(
        (campaign, name)
        for (campaign, name, _), customer_arms in arms.items()
        if len(customer_arms) > 1
    )
    return tuple(
        {"campaign_id": campaign, "name": name, "customers": number}
        for (campaign, name), number in sorted(mixed.items())
    )
