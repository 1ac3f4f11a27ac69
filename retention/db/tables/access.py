"""Tables of roles, keys of the read API, audit, erasures and Slack installations."""

from datetime import datetime
from typing import Any

from slack_sdk.oauth.installation_store.sqlalchemy import SQLAlchemyInstallationStore
from slack_sdk.oauth.state_store.sqlalchemy import SQLAlchemyOAuthStateStore
from sqlalchemy import BigInteger, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Numbered, TeamKeyed


class RoleGrant(TeamKeyed):
    """The role of a Slack user or user group.

    A group's id starts with S. Each of its members without a role of their own has a row with
    ``via``, the group's id. So a person's role is always in one row.
    """

    __tablename__ = "roles"

    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(12))
    granted_by: Mapped[str] = mapped_column(String(64))
    granted_at: Mapped[datetime] = mapped_column(default=clock.now)
    via: Mapped[str | None] = mapped_column(String(64))


class Language(TeamKeyed):
    """The language of a person, a channel or the workspace (``scope`` is an id, or ``*``)."""

    __tablename__ = "languages"

    scope: Mapped[str] = mapped_column(String(64), primary_key=True)
    language: Mapped[str] = mapped_column(String(12))


class Audit(Numbered):
    """An entry of the append-only audit log."""

    __tablename__ = "audit"

    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime] = mapped_column(default=clock.now)
    wall_at: Mapped[datetime] = mapped_column(default=clock.wall)

    __table_args__ = (Index(None, "team_id", "subject"),)


class AuditLink(Numbered):
    """A link of the audit log's chain: see `retention.db.audit_chain`."""

    __tablename__ = "audit_links"

    audit_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    before: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
    key_id: Mapped[str] = mapped_column(String(8))
    signature: Mapped[str] = mapped_column(String(64))


class Erasure(Base):
    """The keyed hash of an erased customer id.

    It prevents imports from restoring the customer, and does not reveal the id.
    """

    __tablename__ = "erasures"

    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(8))  # of the key that hashed it
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=clock.now)


class ApiKey(Base):
    """A key of the read API. Only its hash is stored."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    secret_hash: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "name"),)


# slack_sdk's stores define and use these tables.
SLACK_BOTS = SQLAlchemyInstallationStore.build_bots_table(
    Base.metadata, SQLAlchemyInstallationStore.default_bots_table_name
)
SLACK_INSTALLATIONS = SQLAlchemyInstallationStore.build_installations_table(
    Base.metadata, SQLAlchemyInstallationStore.default_installations_table_name
)
SLACK_STATES = SQLAlchemyOAuthStateStore.build_oauth_states_table(
    Base.metadata, SQLAlchemyOAuthStateStore.default_table_name
)
for _table in (SLACK_BOTS, SLACK_INSTALLATIONS):
    for _column in (_table.c.bot_token, _table.c.bot_refresh_token):
        _column.type = String(500)  # encrypted (retention.encryption)


class PrivacyRelease(Numbered):
    """A release with differential privacy, whose cost counts towards the budget of its week.

    ``figures`` holds what was released, after the noise; ``digest`` is its SHA-256. The same
    subject of the same period is released once.
    """

    __tablename__ = "privacy_releases"

    subject: Mapped[str] = mapped_column(String(64))
    period: Mapped[str] = mapped_column(String(64))
    by: Mapped[str] = mapped_column(String(64))
    epsilon: Mapped[float]
    delta: Mapped[float]
    figures: Mapped[list[Any]]
    digest: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (
        UniqueConstraint("team_id", "subject", "period"),
        Index(None, "team_id", "at"),
    )
