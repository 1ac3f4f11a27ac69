"""Break a sweep down by a field of the customers."""

import difflib
from typing import TYPE_CHECKING, Any

from retention.audiences.evaluate import customer_facts
from retention.audiences.expression import FIELDS, GROUPABLE, STORE, check_group_field
from retention.db import Transaction
from retention.errors import BadInput
from retention.lake.customer_directory import attribute_names, own_store
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.risk.sweep import Sweep

MAX_ROWS = 20  # more groups are one last row


def breakdown(
    lake: "Lake", session: Transaction, swept: "Sweep", field: str
) -> list[dict[str, Any]]:
    """Count customers of the sweep's group and revenue at risk by the values of a field.

    `field`: one of `GROUPABLE`, or an attribute.
    Returns: ``value`` (None: unknown or the rest), ``customers``, ``at_risk`` and
    ``revenue_at_risk``, most revenue at risk first. ``rest`` is the number of values in the last
    row.
    """
    field = check_group_field(field)
    if field == STORE and own_store(lake) is None:
        field = "last_store"
    if field not in FIELDS:
        field = _attribute(lake, field)
    facts = customer_facts(lake, session, None, swept.as_of, swept.group, extra_fields=(field,))
    values = swept.group.customer_id.map(facts[field]).astype(object)
    scores = swept.group.assign(group=values.where(values.notna(), None))
    in_cohort = scores.customer_id.isin(set(swept.cohort.customer_id))
    rows: list[dict[str, Any]] = []
    for value, group in scores.groupby("group", dropna=False, sort=True):
        at_risk = group[in_cohort.loc[group.index]]
        rows.append(
            {
                "value": None if value is None or value != value else str(value),
                "customers": len(group),
                "at_risk": len(at_risk),
                "revenue_at_risk": swept.at_risk_with(at_risk),
                "rest": 0,
            }
        )
    rows.sort(key=lambda row: (-row["revenue_at_risk"], -row["at_risk"]))
    if len(rows) <= MAX_ROWS:
        return rows
    shown, others = rows[: MAX_ROWS - 1], rows[MAX_ROWS - 1 :]
    names = ("customers", "at_risk", "revenue_at_risk")
    sums = {name: sum(row[name] for row in others) for name in names}
    return [*shown, {"value": None, **sums, "rest": len(others)}]


def _attribute(lake: "Lake", name: str) -> str:
    names = {known.lower(): known for known in attribute_names(lake)}
    if name.lower() in names:
        return names[name.lower()]
    valid = [*GROUPABLE, *names.values()]
    nearest = difflib.get_close_matches(name.lower(), valid, 1)
    if nearest:
        message = gettext("The customers have no attribute {name!r}. Did you mean {nearest}?")
    else:
        message = gettext("The customers have no attribute {name!r}; use one of {valid}.")
    raise BadInput(message.format(name=name, nearest="".join(nearest), valid=", ".join(valid)))
