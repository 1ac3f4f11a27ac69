"""Build the environments of child processes.

Any process of the user can read ``/proc/PID/environ``, and crash reports copy it. So a child gets
``X_FILE=path`` instead of a secret ``X``, and only if its role uses it. A secret that already is in
our own environment is passed on unchanged.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from retention.paths import create_private_file, create_private_folder
from retention.settings import SECRETS, Settings, variable
from workers.app import TRAINING

_ALL = frozenset(SECRETS)
_DATABASE = frozenset({"database_url", "broker_url", "secret_key", "old_secret_keys"})
_CARRIERS = frozenset({"smtp_url", "webhook_url", "sms_webhook_url", "webhook_key"})
_SLACK_APP = frozenset({"slack_signing_secret", "slack_app_token", "slack_client_secret"})
# The secrets that each role uses. Other roles get all of them (`retention run` starts the roles).
NEEDS: Mapping[str, frozenset[str]] = {
    "broker": frozenset(),
    "bot": _DATABASE
    | _SLACK_APP
    | {"slack_bot_token", "redemption_key", "events_key", "service_key", "ask_key"},
    "worker": _DATABASE | _CARRIERS | {"slack_bot_token"},  # fetches files that people dropped
    f"worker:{TRAINING}": _DATABASE,
    "tick": _DATABASE,  # the keys are for `workers.queue.quotas.request_key`
    "sender": frozenset({"database_url", "slack_bot_token"}),
    "live": _DATABASE,
}
# Credentials of the lake's object store, and the roles that read no lake.
STORE = ("AWS_", "AZURE_", "GOOGLE_")
WITHOUT_LAKE = ("bot", "tick", "sender")
# Variables that other programs need.
_PLAIN = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


class ChildEnvironments:
    """Environments and secret files of child processes.

    A secret that we read from a ``_FILE`` variable is passed on by that same file. Other secrets
    (from an argument or ``.env``) are written to a folder of mode 0700 in ``home/run/secrets``.
    `write` makes the files and `remove` deletes them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._inherited = dict(os.environ)
        self._parent = settings.home / "run" / "secrets"
        self._folder = self._parent / secrets.token_hex(8)
        self._lock: int | None = None
        self._files: dict[Path, str] = {}
        self._secrets = {field: self._secret_variables(field) for field in SECRETS}

    def of(self, role: str) -> dict[str, str]:
        """Return the environment of a role.

        `role`: a key of `NEEDS`, run, or a worker of one queue, such as ``worker:batch``.
        """
        ours = self._inherited.items()
        if role == "broker":
            return {name: value for name, value in ours if name in _PLAIN or name[:3] == "LC_"}
        plain = self._plain_variables(role)
        replaced = {f"{name}{twin}" for name in SECRETS.values() for twin in ("", "_FILE")}
        replaced |= set(plain)
        environment = {name: value for name, value in ours if name.upper() not in replaced}
        if self._settings.lake_store and role in WITHOUT_LAKE:
            environment = {
                name: value
                for name, value in environment.items()
                if not name.upper().startswith(STORE)
            }
        needed = self._needed(role)
        for field, name in SECRETS.items():
            environment[name] = ""  # hides the value in `.env`, but not a `_FILE` variable
            if field in needed:
                environment |= self._secrets[field]
        return environment | plain

    def write(self) -> None:
        """Write missing secret files and delete abandoned folders."""
        if not self._files:
            return
        if self._lock is None:
            create_private_folder(self._folder)
            self._lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            os.set_inheritable(self._lock, True)  # held while a process that replaced us lives
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._remove_abandoned()
        for path, value in self._files.items():
            if not path.exists():
                create_private_folder(path.parent)
                part = path.with_suffix(".part")
                part.unlink(missing_ok=True)
                with create_private_file(part) as file:
                    file.write(value)
                part.replace(path)

    def remove(self) -> None:
        """Delete the secret files; no child may start afterwards."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove_abandoned(self) -> None:
        """Delete folders without a locked ``.lock`` file.

        A new folder has no lock file yet, and stays.
        """
        for folder in self._parent.iterdir():
            with suppress(OSError):
                lock = os.open(folder / ".lock", os.O_RDWR)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(lock)

    def _secret_variables(self, field: str) -> dict[str, str]:
        name, value = SECRETS[field], _text(getattr(self._settings, field))
        if not value or (field == "database_url" and value.startswith("sqlite")):
            return {}
        environment = {known.upper(): text for known, text in self._inherited.items()}
        if environment.get(name) == value:
            return {name: value}
        twin = f"{name}_FILE"
        path = environment.get(twin)
        if path and not environment.get(name) and _content(path) == value:
            return {twin: str(Path(path).absolute())}
        file = self._folder / name
        self._files[file] = value
        return {twin: str(file)}

    def _plain_variables(self, role: str) -> dict[str, str]:
        """Return settings and URLs that hold no secrets."""
        settings = self._settings
        variables = {
            variable(field): _text(getattr(settings, field))
            for field in type(settings).model_fields
            if field not in SECRETS
        }
        database = settings.database_url.get_secret_value()
        if database.startswith("sqlite"):
            variables["RETENTION_DATABASE_URL"] = database
        others = (
            field for field in _CARRIERS - self._needed(role) if _text(getattr(settings, field))
        )
        withheld = {*map(SECRETS.__getitem__, others), *settings.secrets_elsewhere.split()}
        variables["RETENTION_SECRETS_ELSEWHERE"] = " ".join(sorted(withheld))
        return {name: value for name, value in variables.items() if value}

    def _needed(self, role: str) -> frozenset[str]:
        needed = NEEDS.get(role, NEEDS.get(role.partition(":")[0], _ALL))
        by_oauth = self._settings.slack_client_id and not self._settings.slack_bot_token
        if by_oauth and "slack_bot_token" in needed:
            needed |= {"secret_key", "old_secret_keys"}  # they decrypt the token from OAuth
        return needed


def _content(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
