"""Find the model version in use.

The registry and the definition of churn both ask, and the registry stores definitions.
"""

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from retention.db.tables import ModelVersion
from retention.settings import Settings

_CHAMPION = (  # built once: building takes longer than running
    select(ModelVersion)
    .where(
        ModelVersion.team_id == bindparam("team_id"),
        ModelVersion.kind == bindparam("kind"),
        ModelVersion.state == "champion",
    )
    .order_by(ModelVersion.promoted_at.desc())
)


def champion(session: Session, settings: Settings, kind: str) -> ModelVersion | None:
    """Return the version in use, or None.

    Parameters
    ----------
    session : Session
    settings : Settings
    kind : str
    """
    return session.scalar(_CHAMPION, {"team_id": settings.team_id, "kind": kind})
