"""Show the last text of a customer, without the models that themes need."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.db import Transaction
from retention.lake import customer_directory
from retention.texts.masking import quote

if TYPE_CHECKING:
    from retention.lake import Lake


def last_text(
    lake: "Lake", session: Transaction, customer: str, at: datetime
) -> dict[str, Any] | None:
    """Return the newest text of a customer, masked; None without one."""
    texts = lake.table("texts", before=at)
    own = texts.filter(texts.customer_id == customer, texts.text.notnull())
    frame = own.order_by(own.occurred_at.desc()).limit(1).execute()
    if frame.empty:
        return None
    newest = frame.iloc[0]
    names = customer_directory.display_names(session, [customer]).values()
    return {
        "text": quote(newest.text, names, 200),
        "kind": newest.kind,
        "at": newest.occurred_at.tz_localize("UTC").isoformat(),
        "stars": int(newest.stars) if newest.stars > 0 else None,
    }
