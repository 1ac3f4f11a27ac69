"""Keep the installation's definition of churn.

Retraining, sweeps, scores, digests and evaluations use it. A campaign has a window of its own.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import bindparam, select

from retention import clock
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.db.tables import ChurnDefinition as Row
from retention.db.tables import ModelVersion
from retention.features.order_rhythm import (
    DEFAULT_ACTIVE_WITHIN,
    DEFAULT_HORIZON,
    active_window,
    derive_definition,
    derive_renewal_definition,
    order_rhythm,
)
from retention.window import Means, Window

if TYPE_CHECKING:
    from retention.lake import Lake

Source = Literal["default", "derived", "model", "person"]
SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class ChurnDefinition:
    """Churn is no order within the horizon, among customers with a recent order.

    `active_within_days`: customers with an order in this time are active. None: all who ever
    ordered.
    `source`: ``derived`` from the gaps between orders, from a ``model`` that was put into use,
    decided by a ``person``, or the ``default``.
    `evidence`: of a derived definition: see `retention.features.order_rhythm.DerivedDefinition`,
    with its ``limit``.
    `means`: what a customer does who has not churned: an order, a renewal or an activity.
    """

    horizon_days: int = DEFAULT_HORIZON
    active_within_days: int | None = DEFAULT_ACTIVE_WITHIN
    source: Source = "default"
    evidence: dict[str, Any] = field(default_factory=dict)
    means: Means = "order"

    @property
    def window(self) -> Window:
        """Horizon and activity window, in days."""
        return Window(self.horizon_days, self.active_within_days)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON and templates."""
        return asdict(self)


def current_definition(session: Transaction) -> ChurnDefinition:
    """Return the definition in force.

    It is the newest stored one, else that of the churn model in use, else the default. Reads SQL
    only.
    """
    row = _newest_row(session)
    if row is not None:
        return ChurnDefinition(
            row.horizon_days,
            row.active_within_days,
            row.source,  # type: ignore[arg-type]
            row.evidence,
            row.means,  # type: ignore[arg-type]
        )
    model = champion(session, "churn")
    if model is not None:
        return ChurnDefinition(*model.window, "model")
    return ChurnDefinition()


def means_in_force(database: Database) -> Means:
    """Return what a purchase is in this shop."""
    with database.reading() as session:
        return current_definition(session).means


def definition_in_force(
    lake: "Lake", database: Database, means: Means | None = None
) -> ChurnDefinition:
    """Return the definition in force, derived from the data if nobody decided yet.

    `means`: what the exports of the shop say, instead of what is stored.
    A derived definition follows the data until the first churn model is in use. Nothing is written.
    """
    with database.reading() as session:
        stored = current_definition(session)
        has_model = champion(session, "churn") is not None
    means = means or stored.means
    is_decided = stored.source in ("model", "person") or has_model
    return replace(stored, means=means) if is_decided else derive_from(lake, means)


def ensure_definition(
    lake: "Lake", database: Database, means: Means | None = None
) -> ChurnDefinition:
    """Return the definition in force, and store it if it was derived or means something else.

    `means`: counts for the first import only. A later file must not change what churn is.
    """
    with database.reading() as session:
        stored = current_definition(session)
        means = means if _newest_row(session) is None else None
    definition = definition_in_force(lake, database, means)
    is_new = (stored.window, stored.source) != (definition.window, definition.source)
    if (definition.source == "derived" and is_new) or stored.means != definition.means:
        with database.transaction() as session:
            _store(session, definition, SYSTEM)
    return definition


def derive_from(lake: "Lake", means: Means = "order") -> ChurnDefinition:
    """Derive the definition from the shop's gaps between orders, renewals or activities.

    The source is ``default`` without events.
    """
    if lake.newest_event() is None:
        return ChurnDefinition(means=means)
    moment = lake.as_of(None, DEFAULT_HORIZON).at
    newest = lake.newest_event(before=moment) or moment
    rhythm = order_rhythm(lake, min(moment, newest + timedelta(days=1)))
    derive = derive_renewal_definition if means == "renewal" else derive_definition
    derived = derive(rhythm)
    return ChurnDefinition(
        derived.horizon_days,
        derived.active_within_days,
        "derived",
        {**derived.evidence, "limit": derived.limit},
        means,
    )


def fitting_definition(lake: "Lake", definition: ChurnDefinition) -> ChurnDefinition | None:
    """Return the definition that the shop's rhythm asks for, if it differs."""
    derived = derive_from(lake, definition.means)
    is_known = derived.evidence.get("limit") != "few_returns"
    is_other = derived.horizon_days != definition.horizon_days
    return derived if derived.source == "derived" and is_known and is_other else None


def change_definition(
    session: Transaction, definition: ChurnDefinition, by: str
) -> ModelVersion | None:
    """Put another definition into force.

    The churn model of the old definition is retired: its probabilities answer another question.
    Lists use the rules until a model for the new definition is trained. That model is the first of
    a new line and need not beat the retired one.
    """
    model = champion(session, "churn")
    if model is None or model.window == definition.window:
        _store(session, definition, by)
        return None
    model.state = "retired"
    _store(session, definition, by)
    return model


def adopt_definition_of(session: Transaction, model: ModelVersion, by: str) -> None:
    """Store the definition of a churn model that is put into use, if it differs."""
    now = _newest_row(session)
    if now is None or (now.horizon_days, now.active_within_days) != model.window:
        means = current_definition(session).means
        _store(session, ChurnDefinition(*model.window, "model", means=means), by)


def resolve_definition(
    definition: ChurnDefinition,
    horizon_days: int | None,
    active_within_days: int | Literal["definition"] | None = "definition",
) -> ChurnDefinition:
    """Apply the options of a command to the definition in force.

    `active_within_days`: none: all who ever ordered. ``"definition"``: as defined, or as the given
    horizon asks for.

    Examples
    --------
    >>> resolve_definition(ChurnDefinition(28, 56), None).window
    (28, 56)
    >>> resolve_definition(ChurnDefinition(28, 56), 90).window
    (90, 180)
    """
    horizon = horizon_days or definition.horizon_days
    if active_within_days != "definition":
        active = active_within_days
    elif horizon == definition.horizon_days:
        active = definition.active_within_days
    else:
        active = active_window(horizon)
    if (horizon, active) == definition.window:
        return definition
    return ChurnDefinition(horizon, active, "person", means=definition.means)


def _newest_row(session: Transaction) -> Row | None:
    return session.scalar(
        select(Row).where(Row.team_id == session.settings.team_id).order_by(Row.id.desc()).limit(1)
    )


def _store(session: Transaction, definition: ChurnDefinition, by: str) -> None:
    session.add(
        Row(
            team_id=session.settings.team_id,
            horizon_days=definition.horizon_days,
            active_within_days=definition.active_within_days,
            source=definition.source,
            evidence=definition.evidence,
            means=definition.means,
            decided_by=by,
            decided_at=clock.now(),
        )
    )
    record(session, by, "churn.definition", "churn", clock.now(), definition.as_dict())
    session.flush()


_CHAMPION = (  # built once: building takes longer than running
    select(ModelVersion)
    .where(
        ModelVersion.team_id == bindparam("team_id"),
        ModelVersion.kind == bindparam("kind"),
        ModelVersion.state == "champion",
    )
    .order_by(ModelVersion.promoted_at.desc())
)


def champion(session: Transaction, kind: str) -> ModelVersion | None:
    """Return the version in use, or None."""
    return session.scalar(_CHAMPION, {"team_id": session.settings.team_id, "kind": kind})
