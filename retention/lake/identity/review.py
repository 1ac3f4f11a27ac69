"""Run the linking, and review its links."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from sqlalchemy import select

from retention.csv_text import to_csv
from retention.db import Database, Transaction
from retention.db.tables import Assignment, Campaign
from retention.errors import BadInput
from retention.lake import customer_directory
from retention.lake.identity import keys, links, probabilistic
from retention.lake.identity.keys import IdentityRules, load_rules
from retention.lake.lake import Lake
from retention.lake.schema import LINK_STATES, LINKS
from retention.progress import Progress, silent
from retention.text import gettext

# New state → states that a link may come from.
TRANSITIONS = {
    "accepted": ("proposed", "rejected", "undone"),
    "rejected": ("proposed",),
    "undone": ("accepted",),
}
LIVE_STATES = ("approved", "scheduled", "sending", "live", "measuring")
_SHOWN = ("name", "email", "phone", "created_at")
_HIDDEN = ("customer_since", "same_as_since", "evident_at", "seq")


def link(
    lake: Lake,
    database: Database,
    *,
    by: str,
    accept: float | None = None,
    review: float | None = None,
    with_similarity: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Link customers and update the directory.

    `accept`, `review`: minimum probabilities of accepted and proposed links. Default: from the
    policy.
    Returns: JSON of both results, thresholds, seconds, and campaigns of `campaigns_with_both_arms`.
    Raises `BadInput`: if ``review`` is above ``accept``.
    """
    started = perf_counter()
    rules = load_rules(database.settings)
    accept, review = accept or rules.accept, review or min(rules.review, accept or rules.accept)
    if review > accept:
        text = gettext("--review {review} is above --threshold {accept}; take it at most as high.")
        raise BadInput(text.format(review=review, accept=accept))
    progress(0, 10, gettext("Linking by shared keys"))
    by_key = links.link_exact(lake, rules, by=by)
    by_similarity = None
    if with_similarity:
        by_similarity = probabilistic.link(
            lake, rules, accept=accept, review=review, by=by, progress=progress
        )
    customer_directory.sync(lake, database)
    with database.reading() as session:
        mixed_campaigns = campaigns_with_both_arms(lake, session)
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
    """A decision on links."""

    state: str
    links: tuple[dict[str, Any], ...]
    still_one: tuple[dict[str, Any], ...] = ()
    both_arms: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the decision for JSON."""
        return asdict(self)


def decide(lake: Lake, database: Database, ids: Sequence[str], state: str, *, by: str) -> Decision:
    """Accept, reject or undo links. The directory is updated."""
    link_ids = list(dict.fromkeys(ids))
    with links.locked_log(lake) as log:
        decisions = {row["link_id"]: row for row in links.latest_decisions(lake)}
        for link_id in link_ids:
            _check_transition(decisions, link_id, state)
        rows = _rows([decisions[link_id] for link_id in link_ids], state)
        links.add(lake, log, rows, by)
    customer_directory.sync(lake, database)
    with database.reading() as session:
        mixed_campaigns = campaigns_with_both_arms(lake, session) if state == "accepted" else ()
    pairs = tuple(_pair(decisions[link_id]) | {"state": state} for link_id in link_ids)
    still_one = _still_one(lake, pairs) if state == "undone" else ()
    return Decision(state, pairs, still_one, mixed_campaigns)


def _check_transition(decisions: dict[str, dict[str, Any]], link_id: str, state: str) -> None:
    if link_id not in decisions:
        close = get_close_matches(link_id, list(decisions), n=1, cutoff=0.6)
        if close:
            message = gettext("There is no link {link_id!r}; did you mean {suggestion}?")
        else:
            message = gettext(
                "There is no link {link_id!r}; `retention identity review` lists those to decide "
                "on, `retention identity show CUSTOMER` those of a customer."
            )
        raise BadInput(message.format(link_id=link_id, suggestion=close[0] if close else ""))
    if (current := decisions[link_id]["state"]) not in TRANSITIONS[state]:
        text = gettext("Link {link_id} is {current}; only one that is {allowed} can be {state}.")
        allowed = " or ".join(TRANSITIONS[state])
        raise BadInput(text.format(link_id=link_id, current=current, allowed=allowed, state=state))


def _rows(decisions: list[dict[str, Any]], state: str) -> pd.DataFrame:
    return pd.DataFrame(decisions, columns=[*links.COLUMNS]).assign(state=state)


def _still_one(lake: Lake, undone: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Find undone pairs that other links still connect."""
    canonical_ids = lake.identities.canonical_ids()
    connected = []
    for pair in undone:
        customer, other = _canonical(canonical_ids, pair)
        if customer == other:
            ids = set(links.ids_of(lake, customer))
            through = [
                row["link_id"]
                for row in links.latest_decisions(lake)
                if row["state"] == "accepted" and row["customer_id"] in ids
            ]
            found = {"link_id": pair["link_id"], "customer_id": customer, "through": through}
            connected.append(found)
    return tuple(connected)


def _canonical(canonical_ids: dict[str, str], pair: dict[str, Any]) -> list[str]:
    """Return the canonical ids of both customers of a pair."""
    return [canonical_ids.get(pair[side], pair[side]) for side in ("customer_id", "same_as")]


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    evidence = row["evidence"]
    return {name: row[name] for name in LINKS.names if name not in _HIDDEN} | {
        "probability": float(row["probability"]),
        "evidence": json.loads(evidence) if isinstance(evidence, str) else evidence or {},
        "decided_at": row["decided_at"].isoformat(),
    }


def review(lake: Lake, *, state: str = "proposed") -> list[dict[str, Any]]:
    """Return pairs in a state, most probable first.

    Proposed pairs that other links have merged meanwhile are left out.

    Returns: columns of the link, and the customers as ``later`` and ``earlier``.
    """
    rows = [row for row in links.latest_decisions(lake) if row["state"] == state]
    pairs = _with_customers(lake, _unmerged(lake, rows) if state == "proposed" else rows)
    return sorted(pairs, key=lambda pair: (-pair["probability"], pair["link_id"]))


def customer_links(lake: Lake, customer_id: str) -> dict[str, Any]:
    """Return all ids and links of a customer.

    Returns: ``ids``, the canonical one first, and ``pairs`` in any state, as from `review`.
    """
    ids = links.ids_of(lake, customer_id)
    latest_decisions = links.latest_decisions(lake)
    rows = [row for row in latest_decisions if {row["customer_id"], row["same_as"]} & {*ids}]
    pairs = _with_customers(lake, rows)
    pairs.sort(key=lambda pair: (LINK_STATES.index(pair["state"]), pair["link_id"]))
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
    return [row for row in rows if len({*_canonical(canonical_ids, row)}) > 1]


def status(lake: Lake, session: Transaction, rules: IdentityRules) -> dict[str, Any]:
    """Count links, merged customers and shared keys."""
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
        "shared": [asdict(key) for key in links.shared_keys(lake, rules)],
        "both_arms": list(campaigns_with_both_arms(lake, session)),
        "accept": rules.accept,
        "review": rules.review,
    }


def write_csv(pairs: list[dict[str, Any]], path: Path) -> None:
    """Write pairs to a CSV file, escaping formulas."""
    own = ("link_id", "probability", "method", "customer_id", "same_as")
    of_both = [(side, name) for side in ("earlier", "later") for name in _SHOWN]
    rows = [
        {name: pair[name] for name in own}
        | {f"{side}_{name}": pair[side].get(name) for side, name in of_both}
        | {"evidence": ", ".join(f"{name}: {level}" for name, level in pair["evidence"].items())}
        for pair in pairs
    ]
    path.write_bytes(to_csv(pd.DataFrame(rows)))


def campaigns_with_both_arms(lake: Lake, session: Transaction) -> tuple[dict[str, Any], ...]:
    """Find campaigns with a customer in both arms.

    Only live campaigns and merged customers count.

    Returns: ``campaign_id``, ``name`` and number of ``customers``.
    """
    canonical_ids = lake.identities.canonical_ids()
    if not canonical_ids:
        return ()
    ids = {*canonical_ids, *canonical_ids.values()}
    is_own = Campaign.team_id == session.settings.team_id
    rows = session.execute(
        select(Campaign.id, Campaign.name, Assignment.customer_id, Assignment.arm)
        .join(Assignment, Assignment.campaign_id == Campaign.id)
        .where(
            is_own, Campaign.state.in_(LIVE_STATES), Assignment.arm.in_(("treatment", "control"))
        )
    )
    arms: dict[tuple[str, str, str], set[str]] = {}
    for campaign, name, customer, arm in rows:
        if customer in ids:
            canonical = canonical_ids.get(customer, customer)
            arms.setdefault((campaign, name, canonical), set()).add(arm)
    mixed = Counter(key[:2] for key, customer_arms in arms.items() if len(customer_arms) > 1)
    return tuple(
        {"campaign_id": campaign, "name": name, "customers": number}
        for (campaign, name), number in sorted(mixed.items())
    )
