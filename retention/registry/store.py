"""Store model artefacts and their rows.

Artefacts are below ``RETENTION_MODELS_URL``, rows in SQL. An artefact is read only after its seal
is verified.
"""

import difflib
import hashlib
import hmac
import os
import secrets
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from retention import clock
from retention.db import Transaction
from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.features import catalogue
from retention.lake.storage.shared_folder import shared_folder
from retention.paths import create_private_folder, is_url
from retention.registry import churn_definition
from retention.registry.churn_definition import champion
from retention.settings import MODELS, Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.storage.object_store import SharedFolder


def save(settings: Settings, row: ModelVersion, content: bytes) -> ModelVersion:
    """Write an artefact and complete its row for a session.

    The file is written atomically. If the row is never added, the file is unused.

    `row`: with ``kind`` (churn or recommend) and what is known of the training.
    `content`: the artefact. The row gets its sha256 and a keyed seal over that, the kind and the
    version.
    """
    day = row.cutoff.astimezone(settings.zone)
    row.version = f"{row.kind}-{day:%Y%m%d}-{secrets.token_hex(3)}"
    row.artefact = f"{row.kind}/{row.version}.model"
    _write(settings, row.artefact, content)
    row.team_id, row.state = settings.team_id, "candidate"
    row.code_version, row.created_at = installed_version("retention-desk"), clock.now()
    row.sha256 = hashlib.sha256(content).hexdigest()
    row.hmac = _seal(settings.key, settings, row)
    return row


def load(settings: Settings, row: ModelVersion) -> bytes:
    """Read an artefact and verify its hash and seal."""
    try:
        content = _read(settings, row.artefact)
    except OSError:
        text = gettext("The artefact of model {version} is missing from {models_url}.")
        message = text.format(version=row.version, models_url=settings.models_url)
        raise BadInput(message, hint="other_model") from None
    digest = hashlib.sha256(content).hexdigest()
    if not (hmac.compare_digest(digest, row.sha256) and has_valid_seal(settings, row)):
        text = gettext(
            "The artefact of model {version} is not what was saved, so it was not loaded."
        )
        raise BadInput(text.format(version=row.version), hint="other_model")
    return content


def check_usable(settings: Settings, row: ModelVersion) -> None:
    """Check that a model version can score customers.

    Reads the artefact, so do not call it while users wait.

    Raises `BadInput`: see `load`. Also if the model uses features that are no longer computed.
    """
    load(settings, row)
    catalogue.check_features(row.features, row.version)


def has_valid_seal(settings: Settings, row: ModelVersion) -> bool:
    """Whether one of our keys sealed the row. The seal covers kind, version and hash."""
    return any(
        hmac.compare_digest(_seal(key, settings, row), row.hmac) for key in settings.keys.all
    )


def reseal(settings: Settings, row: ModelVersion) -> str | None:
    """Return a new seal with the current key."""
    seal = _seal(settings.key, settings, row)
    is_old = has_valid_seal(settings, row) and not hmac.compare_digest(seal, row.hmac)
    return seal if is_old else None


def promote(session: Transaction, row: ModelVersion, by: str) -> None:
    """Put a version into use and retire the previous one.

    A churn model brings its definition of churn with it.

    Runs in the caller's transaction.
    """
    session.execute(
        update(ModelVersion)
        .where(
            ModelVersion.team_id == session.settings.team_id,
            ModelVersion.kind == row.kind,
            ModelVersion.state == "champion",
            ModelVersion.version != row.version,
        )
        .values(state="retired")
    )
    row.state, row.promoted_by, row.promoted_at = "champion", by, clock.now()
    session.add(row)
    if row.kind == "churn":
        churn_definition.adopt_definition_of(session, row, by)


def find(session: Transaction, version: str) -> ModelVersion:
    """Return a version by its name."""
    row, team = session.get(ModelVersion, version), session.settings.team_id
    if row is not None and row.team_id == team:
        return row
    versions = session.scalars(select(ModelVersion.version).where(ModelVersion.team_id == team))
    near = difflib.get_close_matches(version, versions.all(), 1)
    text = gettext("There is no model {version!r}.")
    sentences = [text.format(version=version)]
    sentences += [gettext("Did you mean {version}?").format(version=name) for name in near]
    raise BadInput(" ".join(sentences), hint="models")


def previous(session: Transaction, kind: str) -> ModelVersion | None:
    """Return the target of a roll-back, or None."""
    return session.scalar(
        select(ModelVersion)
        .where(
            ModelVersion.team_id == session.settings.team_id,
            ModelVersion.kind == kind,
            ModelVersion.state == "retired",
            ModelVersion.promoted_at.is_not(None),
        )
        .order_by(ModelVersion.promoted_at.desc(), ModelVersion.created_at.desc())
    )


def roll_back(session: Transaction, kind: str, by: str) -> tuple[ModelVersion, ModelVersion]:
    """Withdraw the champion and reinstate its predecessor.

    Runs in the caller's transaction. Later roll-backs skip withdrawn versions, so two of them go
    two steps back. A withdrawn version can still be promoted by name.

    Raises `BadInput`: without a champion or a previous version.
    """
    now, before = champion(session, kind), previous(session, kind)
    if now is None:
        text = gettext("No {kind} model is in use, so there is nothing to go back to.")
        raise BadInput(text.format(kind=kind), hint="models")
    if before is None:
        text = gettext(
            "No {kind} model was in use before {version}, so there is nothing to go back to."
        )
        raise BadInput(text.format(kind=kind, version=now.version), hint="models")
    promote(session, before, by)
    session.flush()
    session.refresh(now)
    now.state = "withdrawn"
    return before, now


def _seal(key: bytes, settings: Settings, row: ModelVersion) -> str:
    sealed_text = "\0".join(("model artefact", settings.team_id, row.kind, row.version, row.sha256))
    return hmac.new(key, sealed_text.encode(), hashlib.sha256).hexdigest()


def _write(settings: Settings, name: str, content: bytes) -> None:
    root = settings.models_url
    if lake := _lake_store(settings):
        lake.write(f"{MODELS}/{name}", content)
        return
    if is_url(root):
        files, base = _object_store(root)
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


def _read(settings: Settings, name: str) -> bytes:
    root = settings.models_url
    if lake := _lake_store(settings):
        return lake.read(f"{MODELS}/{name}")
    if is_url(root):
        files, base = _object_store(root)
        return files.cat_file(f"{base}/{name}")
    return (Path(root) / name).read_bytes()


def _lake_store(settings: Settings) -> "SharedFolder | None":
    """Return the lake's own store, if it has the models: it needs no further package."""
    is_there = settings.models_url == f"{settings.lake_store}/{MODELS}"
    return shared_folder(settings) if is_there else None


def _object_store(root: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path there."""
    import fsspec

    store: tuple[Any, str] = fsspec.core.url_to_fs(root)
    return store
