"""Tables of imports, customers, models and cohorts."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id
from retention.window import Window


class ImportLog(Base):
    """An import with its report."""

    __tablename__ = "imports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(40))
    source: Mapped[str] = mapped_column(Text)
    report: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=clock.now)


class DirectoryEntry(Base):
    """A customer id for lookups without the lake.

    Imports, linking and erasure update it. ``canonical_id`` is set for merged ids.
    ``email_changed_at`` is the business time of the last new address.
    """

    __tablename__ = "directory"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    canonical_id: Mapped[str | None] = mapped_column(index=True)
    pseudonym: Mapped[str] = mapped_column(String(32), index=True)
    email_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    email_changed_at: Mapped[datetime | None]
    display_name: Mapped[str | None]
    segment: Mapped[str | None]


class PlaceList(Base):
    """The places in the customers' attributes, for sentences that name one.

    ``entries`` has the lower-case name, the field and the value of each place.
    """

    __tablename__ = "places"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    entries: Mapped[list[Any]] = mapped_column(default=list)
    updated_at: Mapped[datetime] = mapped_column(default=clock.wall)


class ChurnDefinition(Base):
    """A definition of churn; the newest of a team applies."""

    __tablename__ = "churn_definitions"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    horizon_days: Mapped[int]
    active_within_days: Mapped[int | None]  # None: all who ever ordered
    source: Mapped[str] = mapped_column(String(12))  # derived | model | person
    evidence: Mapped[dict[str, Any]] = mapped_column(default=dict)
    decided_by: Mapped[str] = mapped_column(String(64))
    decided_at: Mapped[datetime] = mapped_column(default=clock.now)


class ModelVersion(Base):
    """A trained model: data, metrics, artefact and promotion."""

    __tablename__ = "model_versions"

    version: Mapped[str] = mapped_column(String(48), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))  # churn | recommend
    state: Mapped[str] = mapped_column(
        String(12), default="candidate"
    )  # candidate | champion | retired | withdrawn
    estimator: Mapped[str] = mapped_column(String(40))
    rung: Mapped[str] = mapped_column(Text, default="")
    cutoff: Mapped[datetime]
    horizon_days: Mapped[int]
    active_within_days: Mapped[int | None]
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    features: Mapped[list[Any]] = mapped_column(default=list)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    data_fingerprint: Mapped[str]
    code_version: Mapped[str]
    seed: Mapped[int]
    artefact: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    hmac: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(String(32))
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    promoted_by: Mapped[str | None] = mapped_column(String(64))
    promoted_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "kind", "state"),)

    @property
    def window(self) -> Window:
        """The definition of churn that the model was trained for."""
        return Window(self.horizon_days, self.active_within_days)


class ModelHealth(Base):
    """A health check of a model. It holds realised metrics, drift and the alert."""

    __tablename__ = "model_health"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    version: Mapped[str] = mapped_column(String(48))
    at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(12))  # healthy | decayed | waiting
    reasons: Mapped[list[Any]] = mapped_column(default=list)
    source: Mapped[str] = mapped_column(String(48), default="")  # a sweep's run, or "recomputed"
    scored_version: Mapped[str | None] = mapped_column(String(48))
    scored_as_of: Mapped[datetime | None]
    customers: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    baselines: Mapped[dict[str, Any]] = mapped_column(default=dict)
    promised: Mapped[dict[str, Any]] = mapped_column(default=dict)
    drift: Mapped[dict[str, Any]] = mapped_column(default=dict)
    alerted: Mapped[bool] = mapped_column(default=False)
    job_id: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (Index(None, "team_id", "version", "at"),)


class Cohort(Base):
    """The customers of a sweep. The lake's run ``run_id`` holds their ids and scores."""

    __tablename__ = "cohorts"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    job_id: Mapped[str | None] = mapped_column(String(32))
    run_id: Mapped[str] = mapped_column(String(48))
    as_of: Mapped[datetime]
    model_version: Mapped[str] = mapped_column(String(48))
    horizon_days: Mapped[int | None]  # None: stored before the definition of churn was
    tiers: Mapped[list[Any]]
    size: Mapped[int]
    revenue_at_risk: Mapped[Decimal]
    currency: Mapped[str] = mapped_column(String(8), default="")
    audience: Mapped[str | None] = mapped_column(String(40))  # the run holds only its customers
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
