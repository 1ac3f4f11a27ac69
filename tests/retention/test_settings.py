"""Settings: a default that works, a clear refusal, secrets that stay out of sight."""

import errno
import os
import secrets
import stat
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from retention.db import Database
from retention.db.migrate import upgrade
from retention.errors import BadInput
from retention.keys import shared_values
from retention.privacy.erased import load_erased, record_erased
from retention.settings import SECRETS, Settings, load_settings, variable, warn_of_short_keys
from tests.world import change


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "NOW", "SECRET_KEY", "DATABASE_URL"):
        monkeypatch.delenv(f"RETENTION_{name}", raising=False)


def test_paths_default_to_the_home(tmp_path):
    settings = Settings()
    assert settings.home == tmp_path / ".retention"
    assert settings.database_url.get_secret_value() == f"sqlite:///{settings.home}/state.db"
    assert settings.lake_url == f"duckdb://{settings.home}/lake"


def test_key_is_created_once_and_readable_by_its_owner_only():
    settings = Settings()
    assert settings.key == Settings().key
    assert stat.S_IMODE((settings.home / "secret.key").stat().st_mode) == 0o600
    assert settings.key.decode() not in repr(settings)


def test_new_home_is_private(tmp_path, monkeypatch):
    """The home's database holds addresses and bot tokens.

    With the usual mask, everybody of the machine could read it.
    """
    home = tmp_path / "new" / "home"
    monkeypatch.setenv("RETENTION_HOME", str(home))
    Database.of(Settings())
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    (tmp_path / "shared").mkdir(mode=0o750)
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "shared"))
    assert Settings().key
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o750


def test_full_disk_leaves_no_empty_key(monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", _full)
        with pytest.raises(OSError, match="No space left"):
            _ = Settings().key
    assert len(Settings().key) == 64


def _full(_handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_empty_key_file_is_an_error_with_a_remedy():
    settings = Settings()
    settings.home.mkdir()
    (settings.home / "secret.key").touch()
    with pytest.raises(BadInput, match=r"is missing or empty.*retention restore BACKUP"):
        _ = settings.key


def test_home_with_data_and_no_key_makes_no_new_key():
    """A forgotten customer came back with the next import, because a new key knew no erasure."""
    settings = Settings()
    upgrade(settings)
    database = Database.of(settings)
    change(database, record_erased, ["C1"], "operator", datetime.now(UTC))
    path = settings.home / "secret.key"
    key = path.read_text()
    path.unlink()
    with pytest.raises(BadInput, match=r"secret.key is missing.*retention restore BACKUP"):
        _ = Settings().key
    with pytest.raises(BadInput):
        load_erased(database, Settings())
    assert not path.exists()
    path.write_text(key)
    assert load_erased(database, Settings()).among(["C1", "C2"]) == {"C1"}


@pytest.mark.parametrize("empty", ["", " "])
def test_empty_secret_counts_as_missing(monkeypatch, empty):
    """`RETENTION_REDEMPTION_KEY=` in a settings file made an empty key, which every caller had."""
    for name in ("RETENTION_REDEMPTION_KEY", "RETENTION_WEBHOOK_URL", "SLACK_SIGNING_SECRET"):
        monkeypatch.setenv(name, empty)
    settings = Settings()
    secrets = settings.redemption_key, settings.webhook_url, settings.slack_signing_secret
    assert secrets == (None, None, None)


def test_postgresql_requires_a_configured_key(monkeypatch):
    monkeypatch.setenv("RETENTION_DATABASE_URL", "postgresql://somewhere/db")
    with pytest.raises(BadInput, match="RETENTION_SECRET_KEY is not set"):
        _ = Settings().key


def test_file_variable_reads_a_secret(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("xoxb-from-a-file\n")
    monkeypatch.setenv("SLACK_BOT_TOKEN_FILE", str(tmp_path / "token"))
    settings = Settings()
    assert settings.slack_bot_token.get_secret_value() == "xoxb-from-a-file"
    assert "xoxb" not in repr(settings)


def test_bot_token_with_oauth_requires_a_workspace_id():
    """Anybody could: a stranger's installation took the desk over, and its owner was locked out."""
    values = {
        "slack_bot_token": "xoxb-ours",
        "slack_client_id": "1.2",
        "slack_client_secret": "secret",
    }
    with pytest.raises(ValidationError, match="Set SLACK_TEAM_ID") as refused:
        Settings(**values)
    assert "xoxb" not in str(refused.value)
    assert Settings(**values, slack_team_id="T0SHOP").oauth


BAD_VALUES = {
    "private_sources": ("10.0.0.7/8", "write addresses or networks"),
    "source_limit_mb": ("0", "a whole number of MB"),
    "memory_gb": ("0", "a number of GB above 0"),
    "job_minutes": ("0", "from 1 to 1440"),
    "training_minutes": ("2000", "from 1 to 1440"),
    "training_threads": ("0", "a whole number from 1"),
    "home": ("/dev/null", "name a folder"),
    "database_url": ("mysql://me:hush@host/db", "sqlite:///FILE"),
    "broker_url": ("amqp://me:hush@host", "redis://"),
    "slack_api_url": ("slack.com/api", "https://slack.com/api/"),
    "port": ("abc", "whole number from 1 to 65535"),
    "health_port": ("0", "whole number from 1 to 65535"),
    "health_host": ("localhost", "an IP address"),
    "playground_port": ("70000", "whole number from 1 to 65535"),
    "default_role": ("boss", "viewer, analyst, approver or admin"),
    "timezone": ("Mars", "Europe/London"),
    "log_format": ("yaml", "text or json"),
    "doubted_labels": ("perhaps", "keep or drop"),
    "public_url": ("crm.shop.example", "https://crm.shop.example"),
    "ask_url": ("localhost:8080", "http://127.0.0.1:8080/v1"),
    "shop_origins": ("shop.example", "https://shop.example"),
    "send_rate": ("-1", "above 0, at most 1000"),
    "now": ("xyz", "2026-03-01T09:00"),
    "demo": ("maybe", "true or false"),
    "derive_relations": ("perhaps", "true or false"),
    "privacy_budget": ("-1", "a number from 0 to 100"),
    "privacy_spend": ("0", "a number above 0"),
}
# Any text is valid, or the command that uses the setting checks it.
FREE_TEXT = {
    *("lake_url", "models_url", "slack_client_id", "slack_team_id", "admins", "currency", "shop"),
    *("team_id", "policy", "ask_model", "events_public_key", "brand", "secrets_elsewhere"),
    *("mail_connection", "backup_recipient", "admin_channel", "product_pictures"),
}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("public_url", "https://crm.münchen.example", "xn--"),  # it is in a header of each e-mail
        ("database_url", "postgresql+psycopg2://host/db", r"psycopg2://….*postgresql://USER"),
        ("database_url", "state.db", "is no URL; .*sqlite:///FILE"),
        ("database_url", "mysql://me:hush@host/db", "mysql://….*SQLite.*PostgreSQL"),
    ],
)
def test_further_bad_value_is_named(monkeypatch, field, value, says):
    monkeypatch.setenv(variable(field), value)
    with pytest.raises(ValidationError, match=says) as refused:
        Settings()
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("field", Settings.model_fields)
def test_error_names_the_variable_its_value_and_the_fix(field, monkeypatch, tmp_path):
    name = variable(field)
    if field in SECRETS:
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "missing"))
        with pytest.raises(
            BadInput, match=rf"^{name}_FILE is '.*missing', but .*; create it"
        ) as refused:
            load_settings()
        assert "\n" not in str(refused.value)
    if field in BAD_VALUES:
        value, fix = BAD_VALUES[field]
        monkeypatch.delenv(f"{name}_FILE", raising=False)
        monkeypatch.setenv(name, value)
        with pytest.raises(BadInput, match=rf"^{name} is ") as refused:
            load_settings()
        assert fix in str(refused.value)
        assert (value in str(refused.value)) == (field not in SECRETS)
        assert "hush" not in str(refused.value)
    else:
        assert field in FREE_TEXT or field in SECRETS, (
            "add the setting to BAD_VALUES or to FREE_TEXT"
        )


@pytest.mark.parametrize("field", ["secret_key", "webhook_key", "redemption_key", "events_key"])
def test_short_key_is_refused_and_the_fix_named(field, monkeypatch, tmp_path):
    """A key of one character was accepted."""
    name = variable(field)
    for short in ("x", "Q7" * 7, "whsec_" + "x" * 15):
        monkeypatch.setenv(name, short)
        with pytest.raises(BadInput, match=f"^{name} is too short.* openssl rand -hex 32") as error:
            load_settings()
        assert short not in str(error.value).removeprefix(name) or short == "x"
    for enough in (secrets.token_hex(32), f"whsec_{b64encode(secrets.token_bytes(24)).decode()}"):
        monkeypatch.setenv(name, enough)
        assert getattr(load_settings(), field).get_secret_value() == enough


@pytest.mark.parametrize("field", ["secret_key", "webhook_key", "redemption_key", "events_key"])
@pytest.mark.parametrize("key", ["Q7" * 8, "Q7" * 15, "whsec_" + "x" * 31])
def test_key_of_an_earlier_version_starts_with_a_warning(field, key, monkeypatch, caplog):
    monkeypatch.setenv(variable(field), key)
    settings = load_settings()
    assert settings.short_keys == (variable(field),)
    warn_of_short_keys(settings)
    (warned,) = caplog.messages
    assert variable(field) in warned
    assert "openssl rand -hex 32" in warned
    assert key not in warned


def test_long_keys_give_no_warning(monkeypatch):
    monkeypatch.setenv("RETENTION_REDEMPTION_KEY", secrets.token_hex(16))
    assert load_settings().short_keys == ()


def test_short_key_of_a_home_is_refused():
    settings = Settings()
    settings.home.mkdir()
    (settings.home / "secret.key").write_text("x")
    with pytest.raises(BadInput, match=r"first key in .* is too short"):
        _ = settings.key


def test_public_key_must_differ_from_the_signing_key(monkeypatch):
    for name in ("RETENTION_EVENTS_KEY", "RETENTION_EVENTS_PUBLIC_KEY"):
        monkeypatch.setenv(name, "the same" * 4)
    with pytest.raises(BadInput, match="RETENTION_EVENTS_PUBLIC_KEY equals"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "says"), [(b"\xff\xfe", "not UTF-8 text"), (None, "cannot be read")]
)
def test_unreadable_secret_file_is_named(tmp_path, monkeypatch, content, says):
    path = tmp_path / "token"
    path.mkdir() if content is None else path.write_bytes(content)
    monkeypatch.setenv("SLACK_BOT_TOKEN_FILE", str(path))
    with pytest.raises(BadInput, match=f"^SLACK_BOT_TOKEN_FILE is .*{says}"):
        load_settings()


def test_env_file_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / ".env").write_bytes(b"RETENTION_SHOP=\xff\n")
    with pytest.raises(BadInput, match=r"The file \.env is not UTF-8"):
        load_settings()


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("k" * 16 + " " + "o" * 16, ["k" * 16, "o" * 16]),
        ("k" * 16 + ",\n" + "o" * 16, ["k" * 16, "o" * 16]),
        ("a pass phrase, and long enough", ["a pass phrase, and long enough"]),
        ("short", ["short"]),
        ("", [""]),
    ],
)
def test_shared_key_has_two_values_only_if_both_are_long(key, values):
    assert shared_values(key) == values


def test_public_key_must_differ_from_both_values_of_the_secret_one(monkeypatch):
    monkeypatch.setenv("RETENTION_EVENTS_KEY", "k" * 32 + " " + "o" * 32)
    monkeypatch.setenv("RETENTION_EVENTS_PUBLIC_KEY", "o" * 32)
    with pytest.raises(BadInput, match="RETENTION_EVENTS_PUBLIC_KEY"):
        load_settings()
