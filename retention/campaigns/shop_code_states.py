"""Store what a shop has done with codes, and append it to the audit log.

The audit log gets counts, because a code in clear could be used.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns.states import CLOCK
from retention.db.insert import among
from retention.db.tables import Audit, ShopCode, ShopDiscount

_ROWS = 5_000  # per statement


def mark(
    session: Session,
    discount: ShopDiscount,
    codes: Collection[str],
    state: str,
    error: str | None = None,
) -> None:
    """Store the state of codes at the shop, with one audit entry for those that change.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    discount : ShopDiscount
        Of the codes.
    codes : collection of str
        Those in this state already stay as they are.
    state : str
        ``made``, ``used``, ``deleted`` or ``refused``.
    error : str, optional
        Why the shop refused them.
    """
    changed = move(session, codes, state, ShopCode.state != state, error=error)
    if changed:
        session.add(
            Audit(
                team_id=discount.team_id,
                actor=CLOCK,
                action=f"shop_codes.{state}",
                subject=discount.campaign_id,
                details={"codes": changed, "connection": discount.connection_id},
                at=clock.now(),
            )
        )


def move(
    session: Session, codes: Collection[str], state: str, *where: Any, error: str | None = None
) -> int:
    """Set the state of some codes, and return how many changed.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    codes : collection of str
        The codes.
    state : str
        Their new state.
    *where : condition
        Which of them change.
    error : str, optional
        Why the shop refused them.
    """
    ordered, changed = sorted(codes), 0
    for start in range(0, len(ordered), _ROWS):
        result = session.execute(
            update(ShopCode)
            .where(among(session, ShopCode.code, ordered[start : start + _ROWS]), *where)
            .values(state=state, error=error),
            execution_options={"synchronize_session": False},
        )
        changed += int(result.rowcount)  # type: ignore[attr-defined]
    return changed
