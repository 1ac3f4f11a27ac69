"""Tables of imports, customers, models, cohorts, audiences and published scores."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Numbered, TeamKeyed
from retention.window import Window


class ImportLog(Base):
    """An import with its report."""

    __tablename__ = "imports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(40))
    source: Mapped[str] = mapped_column(Text)
    report: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=clock.now)


class DirectoryEntry(TeamKeyed):
    """A customer id for lookups without the lake.

    Imports, linking and erasure update it. ``canonical_id`` is set for merged ids.
    ``email_changed_at`` is the business time of the last new address.
    """

    __tablename__ = "directory"

    customer_id: Mapped[str] = mapped_column(primary_key=True)
    canonical_id: Mapped[str | None] = mapped_column(index=True)
    pseudonym: Mapped[str] = mapped_column(String(32), index=True)
    email_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    email_changed_at: Mapped[datetime | None]
    display_name: Mapped[str | None]
    segment: Mapped[str | None]


class PlaceList(TeamKeyed):
    """The places in the customers' attributes, for sentences that name one.

    ``entries`` has the lower-case name, the field and the value of each place.
    """

    __tablename__ = "places"

    entries: Mapped[list[Any]] = mapped_column(default=list)
    updated_at: Mapped[datetime] = mapped_column(default=clock.wall)


class TextThemes(TeamKeyed):
    """The themes of what customers write (`retention.texts.themes`), with the names people gave."""

    __tablename__ = "text_themes"

    content: Mapped[dict[str, Any]]
    texts: Mapped[int]  # that they were found in
    found_at: Mapped[datetime] = mapped_column(default=clock.now)


class ChurnDefinition(Numbered):
    """A definition of churn; the newest of a team applies."""

    __tablename__ = "churn_definitions"

    horizon_days: Mapped[int]
    active_within_days: Mapped[int | None]  # None: all who ever ordered
    source: Mapped[str] = mapped_column(String(12))  # derived | model | person
    # order | renewal | activity: what a customer does who has not churned
    means: Mapped[str] = mapped_column(String(12), default="order", server_default="order")
    evidence: Mapped[dict[str, Any]] = mapped_column(default=dict)
    decided_by: Mapped[str] = mapped_column(String(64))
    decided_at: Mapped[datetime] = mapped_column(default=clock.now)


class ModelVersion(Base):
    """A trained model: data, metrics, artefact and promotion."""

    __tablename__ = "model_versions"

    version: Mapped[str] = mapped_column(String(48), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))  # churn | recommend
    # candidate | champion | retired | withdrawn
    state: Mapped[str] = mapped_column(String(12), default="candidate")
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


class ModelHealth(Numbered):
    """A health check of a model. It holds realised metrics, drift and the alert."""

    __tablename__ = "model_health"

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


class Audience(Numbered):
    """A named expression that describes customers.

    It stores no customer. ``is_exclusion``: drafts always leave these customers out.
    """

    __tablename__ = "audiences"

    name: Mapped[str] = mapped_column(String(40))
    expression: Mapped[str] = mapped_column(Text)
    is_exclusion: Mapped[bool] = mapped_column(default=False, server_default=false())
    customers: Mapped[int]  # as counted when it was saved
    counted_as_of: Mapped[datetime]
    saved_by: Mapped[str] = mapped_column(String(64))
    saved_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (UniqueConstraint("team_id", "name"),)


class ListMember(Numbered):
    """A customer of a list that came from a file, from when until when."""

    __tablename__ = "list_members"

    name: Mapped[str] = mapped_column(String(40))
    customer_id: Mapped[str] = mapped_column(index=True)
    added_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "name"),)


class Alert(Numbered):
    """A condition that people want to hear of once it becomes true.

    ``state`` holds what was true at the last check, without customers. A check of customers
    compares the scores of two moments instead.
    """

    __tablename__ = "alerts"

    name: Mapped[str] = mapped_column(String(40))
    condition: Mapped[str] = mapped_column(Text)
    audience: Mapped[str | None] = mapped_column(String(40))
    channel: Mapped[str | None] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    muted_at: Mapped[datetime | None]
    snoozed_until: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    state: Mapped[dict[str, Any]] = mapped_column(default=dict)

    __table_args__ = (UniqueConstraint("team_id", "name"),)


class AlertFiring(Numbered):
    """A time at which an alert's condition became true.

    ``state`` is ``sent``, ``capped`` (beyond the daily limit), ``snoozed`` or ``muted``.
    """

    __tablename__ = "alert_firings"

    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id"))
    at: Mapped[datetime]
    customers: Mapped[int] = mapped_column(default=0)
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)  # counts and names, no customer
    state: Mapped[str] = mapped_column(String(12), default="sent")

    __table_args__ = (Index(None, "team_id", "at"),)


class ProfileSnapshot(Numbered):
    """All active customers' scores and the members of all audiences at one moment.

    Other systems read the newest complete one. ``completed_at`` is real time.
    """

    __tablename__ = "profile_snapshots"

    as_of: Mapped[datetime]
    model_version: Mapped[str] = mapped_column(String(48))
    customers: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    completed_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "completed_at"),)


class Profile(Base):
    """A customer's scores in a snapshot."""

    __tablename__ = "profiles"

    snapshot_id: Mapped[int] = mapped_column(
        ForeignKey("profile_snapshots.id", ondelete="CASCADE"), primary_key=True
    )
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    churn_probability: Mapped[float]
    tier: Mapped[str] = mapped_column(String(12))
    expected_value: Mapped[float]
    next_order_at: Mapped[datetime | None]
    items: Mapped[list[Any]] = mapped_column(default=list)  # recommended item ids, best first


class AudienceMember(Base):
    """A member of a saved audience in a snapshot."""

    __tablename__ = "audience_members"

    snapshot_id: Mapped[int] = mapped_column(
        ForeignKey("profile_snapshots.id", ondelete="CASCADE"), primary_key=True
    )
    audience: Mapped[str] = mapped_column(String(40), primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)


class ItemTitle(TeamKeyed):
    """The title that a person gave an item. It replaces the one of the data for people."""

    __tablename__ = "item_titles"

    item_id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    set_by: Mapped[str] = mapped_column(String(64))
    set_at: Mapped[datetime] = mapped_column(default=clock.now)
