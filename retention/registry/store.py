"""Artefacts below ``RETENTION_MODELS_URL`` and their rows in SQL. Nothing is read back before its seal is checked."""

import difflib
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from retention import clock
from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.folders import private
from retention.settings import Settings
from retention.text import gettext
from retention.urls import is_url


def save(
    settings: Settings,
    kind: str,
    content: bytes,
    *,
    estimator: str,
    cutoff: datetime,
    horizon_days: int,
    active_within_days: int | None,
    parameters: dict[str, Any],
    features: Sequence[str],
    metrics: dict[str, Any],
    fingerprint: str,
    seed: int,
    rung: str,
    created_by: str,
    job_id: str | None,
) -> ModelVersion:
    """Write an artefact and give its row, for the caller to add to a session.

    The file appears whole or not at all: a row that is then never added leaves a file that nobody reads.

    Parameters
    ----------
    kind : str
        ``churn`` or ``recommend``.
    content : bytes
        The artefact; its sha256 and a keyed seal over that, the kind and the version go into the row.
    """
    digest = hashlib.sha256(content).hexdigest()
    version = f"{kind}-{cutoff.astimezone(settings.zone):%Y%m%d}-{secrets.token_hex(3)}"
    name = f"{kind}/{version}.model"
    _write(settings.models_url, name, content)
    return ModelVersion(
        team_id=settings.team_id,
        version=version,
        kind=kind,
        estimator=estimator,
        rung=rung,
        cutoff=cutoff,
        horizon_days=horizon_days,
        active_within_days=active_within_days,
        parameters=parameters,
        features=list(features),
        metrics=metrics,
        data_fingerprint=fingerprint,
        code_version=installed_version("retention-desk"),
        seed=seed,
        artefact=name,
        sha256=digest,
        hmac=_seal(settings.key, settings, kind, version, digest),
        job_id=job_id,
        created_by=created_by,
        created_at=clock.now(),
        state="candidate",
    )


def load(settings: Settings, row: ModelVersion) -> bytes:
    """The artefact of a version, once its hash and its seal have been checked.

    Raises
    ------
    BadInput
        Where the file is gone, or is not what was saved; nothing of it has been interpreted.
    """
    try:
        content = _read(settings.models_url, row.artefact)
    except OSError:
        raise BadInput(
            gettext(
                "The artefact of model {version} is missing from {models_url}; promote another "
                "version or run `/retention retrain`."
            ).format(version=row.version, models_url=settings.models_url)
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if not (hmac.compare_digest(digest, row.sha256) and sealed(settings, row)):
        raise BadInput(
            gettext(
                "The artefact of model {version} is not what was saved, so it was not loaded; "
                "promote another version or run `/retention retrain`."
            ).format(version=row.version)
        )
    return content


def usable(settings: Settings, row: ModelVersion) -> None:
    """See that customers could be scored by a version; its artefact is read, so not while others wait.

    Raises
    ------
    BadInput
        See `load`; or it asks for features that are no longer computed.
    """
    from retention.features import catalogue

    load(settings, row)
    catalogue.check_features(row.features, row.version)


def sealed(settings: Settings, row: ModelVersion) -> bool:
    """Whether a row is as it was written: its kind, version and sha256 carry the seal of a key of ours."""
    return any(
        hmac.compare_digest(_seal(key, settings, row.kind, row.version, row.sha256), row.hmac)
        for key in settings.keys.all
    )


def reseal(settings: Settings, row: ModelVersion) -> str | None:
    """The seal of the current key for a row that an older one sealed; None where there is nothing to do, or no seal of ours."""
    seal = _seal(settings.key, settings, row.kind, row.version, row.sha256)
    return seal if sealed(settings, row) and not hmac.compare_digest(seal, row.hmac) else None


_CHAMPION = (  # put together once: that takes longer than to run it
    select(ModelVersion)
    .where(
        ModelVersion.team_id == bindparam("team_id"),
        ModelVersion.kind == bindparam("kind"),
        ModelVersion.state == "champion",
    )
    .order_by(ModelVersion.promoted_at.desc())
)


def champion(session: Session, settings: Settings, kind: str) -> ModelVersion | None:
    """The version in use, or None before the first training."""
    return session.scalar(_CHAMPION, {"team_id": settings.team_id, "kind": kind})


def promote(session: Session, settings: Settings, row: ModelVersion, by: str) -> None:
    """Put a version into use and retire the one before it, in the caller's transaction."""
    session.execute(
        update(ModelVersion)
        .where(
            ModelVersion.team_id == settings.team_id,
            ModelVersion.kind == row.kind,
            ModelVersion.state == "champion",
            ModelVersion.version != row.version,
        )
        .values(state="retired")
    )
    row.state, row.promoted_by, row.promoted_at = "champion", by, clock.now()
    session.add(row)


def find(session: Session, settings: Settings, version: str) -> ModelVersion:
    """A version by its name.

    Raises
    ------
    BadInput
        Where this team has no such version; the nearest names are given.
    """
    row = session.get(ModelVersion, version)
    if row is None or row.team_id != settings.team_id:
        known = session.scalars(
            select(ModelVersion.version).where(ModelVersion.team_id == settings.team_id)
        ).all()
        near = difflib.get_close_matches(version, known, 1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise BadInput(
            gettext("There is no model {version!r}; see `/retention models`.{guess}").format(
                version=version, guess=guess
            )
        )
    return row


def previous(session: Session, settings: Settings, kind: str) -> ModelVersion | None:
    """The version that a roll-back goes to, or None where there is none."""
    return session.scalar(
        select(ModelVersion)
        .where(
            ModelVersion.team_id == settings.team_id,
            ModelVersion.kind == kind,
            ModelVersion.state == "retired",
            ModelVersion.promoted_at.is_not(None),
        )
        .order_by(ModelVersion.promoted_at.desc(), ModelVersion.created_at.desc())
    )


def roll_back(
    session: Session, settings: Settings, kind: str, by: str
) -> tuple[ModelVersion, ModelVersion]:
    """Withdraw the champion and put the one before it back into use, in the caller's transaction.

    A withdrawn version is passed over by later roll-backs, so that two of them go two steps back; it can still be
    promoted by name.

    Returns
    -------
    tuple of ModelVersion
        The version in use now, and the one withdrawn.

    Raises
    ------
    BadInput
        Where nothing is in use, or nothing was before it.
    """
    now, before = champion(session, settings, kind), previous(session, settings, kind)
    if now is None or before is None:
        what = (
            f"No {kind} model is in use"
            if now is None
            else f"No {kind} model was in use before {now.version}"
        )
        raise BadInput(
            gettext("{what}, so there is nothing to go back to; see `/retention models`.").format(
                what=what
            )
        )
    promote(session, settings, before, by)
    session.flush()
    session.refresh(now)
    now.state = "withdrawn"
    return before, now


def _seal(key: bytes, settings: Settings, kind: str, version: str, digest: str) -> str:
    told = "\0".join(("model artefact", settings.team_id, kind, version, digest))
    return hmac.new(key, told.encode(), hashlib.sha256).hexdigest()


def _write(root: str, name: str, content: bytes) -> None:
    if is_url(root):
        import fsspec

        files, base = fsspec.core.url_to_fs(root)
        files.makedirs(f"{base}/{Path(name).parent}", exist_ok=True)
        files.pipe_file(
            f"{base}/{name}", content
        )  # object stores show an object whole or not at all
        return
    path = Path(root) / name
    private(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(root: str, name: str) -> bytes:
    if is_url(root):
        import fsspec

        files, base = fsspec.core.url_to_fs(root)
        return files.cat_file(f"{base}/{name}")
    return (Path(root) / name).read_bytes()
