"""Propose maps for the exports of a subscription shop or of a learning platform, read together."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retention.lake.reading import sources
from retention.lake.suggesting.fields import Role, is_beside_orders, is_learning, role_of
from retention.lake.suggesting.suggest import Proposal, propose
from retention.paths import is_url
from retention.window import Means

if TYPE_CHECKING:
    from retention.lake.lake import Lake

# Sales come first: their map gives the time zone and the figures' words.
_ORDER: tuple[Role | None, ...] = ("subscription", None, "enrolment", "activity")


def propose_field_files(
    lake: "Lake", files: Sequence[str], means: Means = "order"
) -> list[tuple[list[str], Proposal]]:
    """Return the files of each shape with their map; [] for a shop without such exports.

    Activity is a view where the shop has subscriptions. Without them it is a return, if it is
    learning: visits of a shop's pages are none.

    `means`: what a purchase is in a shop that has some.
    """
    named = sources.expand_paths([*files])
    if any(is_url(file) or not Path(file).is_file() for file in named):
        return []
    by_role: dict[Role | None, list[str]] = {}
    is_course = False
    for file in named:
        with sources.open_source(lake.duckdb, file, None, None) as source:
            role = role_of(source.columns)
            is_course |= is_learning(source.columns)
        by_role.setdefault(role, []).append(file)
    is_log_alone = {*by_role} == {"activity"}
    has_renewals = "subscription" in by_role or (is_log_alone and is_beside_orders(lake, means))
    if not by_role.keys() - {None} or (None in by_role and has_renewals):
        return []
    if not has_renewals and not ("activity" in by_role and is_course) and len(by_role) > 1:
        return []
    proposals = [
        (read, propose(lake, "events", read[0], others=read[1:], is_beside_renewals=has_renewals))
        for role in _ORDER
        if (read := by_role.get(role))
    ]
    return [] if all(each.format_name for _, each in proposals) else proposals
