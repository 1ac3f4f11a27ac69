"""Store model artefacts and their rows.

Artefacts are below ``RETENTION_MODELS_URL``, rows in SQL. An artefact is read only after its seal
is verified.
"""

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

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from retention import clock
from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.paths import create_private_folder, is_url
from retention.registry import churn_definition
from retention.registry.champions import champion
from retention.settings import Settings
from retention.text import gettext


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
    """Write an artefact and return its row for a session.

    The file is written atomically. If the row is never added, the file is unused.

    Parameters
    ----------
    settings : Settings
    kind : str
        ``churn`` or ``recommend``.
    content : bytes
        The artefact. The row gets its sha256 and a keyed seal over that, the kind and the version.
    estimator, cutoff, horizon_days, active_within_days, parameters, features, metrics
        Columns of the row.
    fingerprint, seed, rung, created_by, job_id
        Columns of the row.
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
    """Read an artefact and verify its hash and seal.

    Parameters
    ----------
    settings : Settings
    row : ModelVersion

    Raises
    ------
    BadInput
        If the file is missing or was changed. Its content is not interpreted.
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
    if not (hmac.compare_digest(digest, row.sha256) and has_valid_seal(settings, row)):
        raise BadInput(
            gettext(
                "The artefact of model {version} is not what was saved, so it was not loaded; "
                "promote another version or run `/retention retrain`."
            ).format(version=row.version)
        )
    return content


def check_usable(settings: Settings, row: ModelVersion) -> None:
    """Check that a model version can score customers.

    Reads the artefact, so do not call it while users wait.

    Parameters
    ----------
    settings : Settings
    row : ModelVersion

    Raises
    ------
    BadInput
        See `load`. Also if the model uses features that are no longer computed.
    """
    from retention.features import catalogue

    load(settings, row)
    catalogue.check_features(row.features, row.version)


def has_valid_seal(settings: Settings, row: ModelVersion) -> bool:
    """Whether one of our keys sealed the row.

    The seal covers kind, version and hash.

    Parameters
    ----------
    settings : Settings
        Gives the keys.
    row : ModelVersion
        As stored.

    Returns
    -------
    bool
    """
    return any(
        hmac.compare_digest(_seal(key, settings, row.kind, row.version, row.sha256), row.hmac)
        for key in settings.keys.all
    )


def reseal(settings: Settings, row: ModelVersion) -> str | None:
    """Return a new seal with the current key.

    Parameters
    ----------
    settings : Settings
    row : ModelVersion

    Returns
    -------
    str or None
        None if the seal is current or invalid.
    """
    seal = _seal(settings.key, settings, row.kind, row.version, row.sha256)
    return (
        seal if has_valid_seal(settings, row) and not hmac.compare_digest(seal, row.hmac) else None
    )


def promote(session: Session, settings: Settings, row: ModelVersion, by: str) -> None:
    """Put a version into use and retire the previous one.

    A churn model brings its definition of churn with it.

    Runs in the caller's transaction.

    Parameters
    ----------
    session : Session
    settings : Settings
    row : ModelVersion
    by : str
        Actor.
    """
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
    if row.kind == "churn":
        churn_definition.adopt_definition_of(session, settings, row, by)


def find(session: Session, settings: Settings, version: str) -> ModelVersion:
    """Return a version by its name.

    Parameters
    ----------
    session : Session
    settings : Settings
    version : str

    Raises
    ------
    BadInput
        If the team has no such version; suggests the closest name.
    """
    row = session.get(ModelVersion, version)
    if row is None or row.team_id != settings.team_id:
        versions = session.scalars(
            select(ModelVersion.version).where(ModelVersion.team_id == settings.team_id)
        ).all()
        near = difflib.get_close_matches(version, versions, 1)
        sentence = gettext("There is no model {version!r}; see `/retention models`.").format(
            version=version
        )
        if near:
            guess = gettext("Did you mean {version}?").format(version=near[0])
            sentence = f"{sentence} {guess}"
        raise BadInput(sentence)
    return row


def previous(session: Session, settings: Settings, kind: str) -> ModelVersion | None:
    """Return the target of a roll-back, or None.

    Parameters
    ----------
    session : Session
    settings : Settings
    kind : str
    """
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
    """Withdraw the champion and reinstate its predecessor.

    Runs in the caller's transaction. Later roll-backs skip withdrawn versions, so two of them go
    two steps back. A withdrawn version can still be promoted by name.

    Parameters
    ----------
    session : Session
    settings : Settings
    kind : str
    by : str
        Actor.

    Returns
    -------
    tuple of ModelVersion
        The version in use now, and the withdrawn one.

    Raises
    ------
    BadInput
        Without a champion or a previous version.
    """
    now, before = champion(session, settings, kind), previous(session, settings, kind)
    if now is None or before is None:
        if now is None:
            raise BadInput(
                gettext(
                    "No {kind} model is in use, so there is nothing to go back to; see "
                    "`/retention models`."
                ).format(kind=kind)
            )
        raise BadInput(
            gettext(
                "No {kind} model was in use before {version}, so there is nothing to go back to; "
                "see `/retention models`."
            ).format(kind=kind, version=now.version)
        )
    promote(session, settings, before, by)
    session.flush()
    session.refresh(now)
    now.state = "withdrawn"
    return before, now


def _seal(key: bytes, settings: Settings, kind: str, version: str, digest: str) -> str:
    sealed_text = "\0".join(("model artefact", settings.team_id, kind, version, digest))
    return hmac.new(key, sealed_text.encode(), hashlib.sha256).hexdigest()


def _write(root: str, name: str, content: bytes) -> None:
    if is_url(root):
        import fsspec

        files, base = fsspec.core.url_to_fs(root)
        files.makedirs(f"{base}/{Path(name).parent}", exist_ok=True)
        files.pipe_file(f"{base}/{name}", content)  # atomic in object stores
        return
    path = Path(root) / name
    create_private_folder(path.parent)
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
