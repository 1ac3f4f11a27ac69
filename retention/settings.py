"""Read all settings from the environment or ``.env``.

``NAME_FILE`` reads a secret from a file.
"""

import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AliasChoices,
    Field,
    IPvAnyAddress,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from retention.clock import time_zones
from retention.errors import BadInput
from retention.keys import (
    LEAST_CHARACTERS,
    Keys,
    is_long_enough,
    read_or_create_key,
    shared_values,
    short_key,
)
from retention.text import gettext

log = logging.getLogger(__name__)

# Allowed schemes of the SQL database's URL. `retention.db` sets up connections of psycopg.
DATABASES = ("sqlite", "sqlite+pysqlite", "postgresql", "postgres", "postgresql+psycopg")
_OWN_KEYS = ("secret_key", "webhook_key", "redemption_key", "events_key")  # made by the operator
Port = Annotated[int, Field(ge=1, le=65535)]
BROKERS = ("redis", "rediss", "redis+socket")
_MAY_BE_MISSING = (
    "slack_bot_token",
    "slack_signing_secret",
    "slack_app_token",
    "slack_client_secret",
    "smtp_url",
    "webhook_url",
    "sms_webhook_url",
    "webhook_key",
    "redemption_key",
    "events_key",
    "ask_key",
    "backup_passphrase",
)
_SECRETS = ("secret_key", "old_secret_keys", "database_url", "broker_url", *_MAY_BE_MISSING)


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return field.upper() if field.startswith("slack_") else f"RETENTION_{field.upper()}"


SECRETS = {field: variable(field) for field in _SECRETS}


def _unprefixed(name: str, default: Any = None) -> Any:
    """Return the field of a variable without our prefix."""
    return Field(default, validation_alias=AliasChoices(name.upper(), name))


class Settings(BaseSettings):
    """The installation's settings.

    The docstring of a setting is its line in docs/reference/settings.md.
    """

    model_config = SettingsConfigDict(
        env_prefix="RETENTION_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # a URL holds a password
    )

    home: Path = Path(".retention")
    """Folder of the lake, the database, the models, logs and quarantine, unless set below.
    Created with mode 0700."""
    database_url: SecretStr = SecretStr("")
    """Operational state: `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/DATABASE` in
    production."""
    lake_url: str = ""
    """Customer data. `spark:///FOLDER` or `spark://HOST:7077/FOLDER` computes features with
    Spark after `make setup-spark`."""
    models_url: str = ""
    """Model files."""
    broker_url: SecretStr = SecretStr("")
    """`redis://:PASSWORD@HOST:6379/0`. Without it, `retention run` starts an embedded broker."""
    secret_key: SecretStr = SecretStr("")
    """Root of every signature, salt and pseudonym; required with PostgreSQL. Without it, models
    become unreadable and pseudonyms change."""
    old_secret_keys: SecretStr = SecretStr("")
    """Replaced keys, newest first. They still verify what they signed."""
    slack_bot_token: SecretStr | None = _unprefixed("slack_bot_token")
    """Bot token (`xoxb-…`)."""
    slack_signing_secret: SecretStr | None = _unprefixed("slack_signing_secret")
    """Verifies requests over HTTP. Not needed with an app token."""
    slack_app_token: SecretStr | None = _unprefixed("slack_app_token")
    """App-level token (`xapp-…`): Socket Mode, no public address needed."""
    slack_client_id: str = _unprefixed("slack_client_id", "")
    """With the client secret: the app can be installed by OAuth instead of a bot token."""
    slack_client_secret: SecretStr | None = _unprefixed("slack_client_secret")
    """See `SLACK_CLIENT_ID`."""
    slack_team_id: str = _unprefixed("slack_team_id", "")
    """The one workspace (`T…`) that may install the app. Required if a bot token and a client
    id are set."""
    slack_api_url: str = _unprefixed("slack_api_url", "https://slack.com/api/")
    """Base URL of Slack's Web API."""
    port: Port = 8000
    """Port of the bot's server."""
    health_port: Port = 8001
    """Port of `/health` and `/metrics`."""
    health_host: IPvAnyAddress = IPv4Address("127.0.0.1")
    """Address of `/health` and `/metrics`. They need no password: use loopback or a private
    network."""
    playground_port: Port = 8010
    """Port of the demo's page; loopback only."""
    admins: str = ""
    """Slack user ids that are admins from the start, separated by commas or blanks."""
    default_role: str = "viewer"
    """Role of everyone without another one: viewer, analyst, approver or admin."""
    admin_channel: Annotated[str, Field(pattern="^([CG][A-Z0-9]+)?$")] = ""
    """Id of a private channel (`C…`) in which the head of the audit log is posted once a day."""
    timezone: str = "UTC"
    """The shop's time zone, for shown times and for dates typed without a zone."""
    currency: str = ""
    """Currency of amounts. An import in another currency is refused. Default: the data's own."""
    doubted_labels: Literal["keep", "drop"] = "keep"
    """`drop` leaves out training labels of customers with a score marked wrong. The effect is
    not measured yet."""
    smtp_url: SecretStr | None = None
    """Mail server: `smtp://USER:PASSWORD@HOST:587/?from=ADDRESS&name=NAME`, or `smtps://`.
    Without it, a person downloads the codes."""
    webhook_url: SecretStr | None = None
    """E-mail platform that receives each e-mail as signed JSON. It is used instead of the mail
    server."""
    sms_webhook_url: SecretStr | None = None
    """Platform that receives each SMS and WhatsApp message as signed JSON. E-mails keep their own
    way."""
    webhook_key: SecretStr | None = None
    """Signs calls of `RETENTION_WEBHOOK_URL` and `RETENTION_SMS_WEBHOOK_URL`. It can have two
    values while it is changed, as the two keys below."""
    secrets_elsewhere: str = ""
    """Variables of secrets for sending that only other processes have, separated by blanks.
    `retention run` sets it, so that the bot knows which ways to send are switched on."""
    mail_connection: str = ""
    """Name of the connection to a mail platform (`retention source add`) that sends e-mails. It
    is used instead of webhook and mail server."""
    redemption_key: SecretStr | None = None
    """Verifies `POST /redemptions` of tills. Without it, that route is closed."""
    events_key: SecretStr | None = None
    """Verifies `POST /events` (Standard Webhooks, `whsec_…`) and is the write key of `POST /track`
    of servers. Without it, those routes are closed."""
    events_public_key: str = ""
    """Write key of `/events.js` in browsers: views, searches and carts only. It is no secret and
    must differ from `RETENTION_EVENTS_KEY`."""
    shop_origins: str = ""
    """Origins of the shop's pages, such as `https://shop.example`, separated by commas or blanks.
    Only they may send browser events."""
    private_sources: str = ""
    """Private addresses and networks that web sources may use, such as `10.0.0.7` or
    `10.1.0.0/16`, separated by commas or blanks. By default none: a redirect could lead there."""
    source_limit_mb: Annotated[int, Field(ge=1)] = 2048
    """Largest file of a web source in MB, as it is sent and unpacked."""
    ask_url: str = ""
    """OpenAI-compatible endpoint for sentences that no rule understands. Without it, no
    language model is used."""
    ask_key: SecretStr | None = None
    """Key of `RETENTION_ASK_URL`."""
    ask_model: str = "default"
    """Model of `RETENTION_ASK_URL`."""
    backup_passphrase: SecretStr | None = None
    """Encrypts backups and opens them. Without it, a terminal asks."""
    backup_recipient: str = ""
    """Encrypts backups to this age recipient (`age1…`) instead of a passphrase. Its key opens
    them."""
    public_url: str = ""
    """Public address of the bot's server, such as `https://crm.shop.example`. Required to send
    e-mails."""
    shop: str = ""
    """The shop's name in e-mails."""
    send_rate: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """Largest number of e-mails per second."""
    now: datetime | None = None
    """Fixes business time (ISO 8601) for replays. UTC without a zone."""
    team_id: str = "local"
    """Workspace id of the terminal and the demo."""
    policy: Path | None = None
    """Your copy of the policy file. Default: `retention/risk/policy.toml`."""
    brand: Path | None = None
    """Your brand file: logo, colours and address of e-mails. Default: `brand.toml` in the home."""
    log_format: Literal["text", "json"] = "text"
    """`json` writes the log of every process to standard output, one object per line."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory in GB that the data engine of each process may use before it uses the disk. Default:
    half of the machine's or container's memory, at most 6."""
    job_minutes: Annotated[int, Field(ge=1, le=1440)] = 15
    """Longest time of a job that is no training."""
    training_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    """CPU time of a training, over all threads. It may take four times as long on the clock."""
    training_threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of a training. Default: half of the cores, at most 4."""
    derive_relations: bool = False
    """`true` lets models see who shares an address, sent a gift or used a referral code, as the
    attributes of the customers say."""
    privacy_budget: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Privacy loss ε per week of the counts that leave the desk with noise. 0 switches the noise
    off; see [differential privacy](../operator/differential_privacy.md)."""
    privacy_spend: Annotated[float, Field(gt=0, le=1_000_000)] = 500.0
    """Spend of one customer and week that counts at most in a noisy sum of sales."""
    product_pictures: str = ""
    """`catalogue`, or a folder of pictures named after item ids: lists of new items use what
    products look like. Needs the extra `pictures`."""
    demo: bool = False
    """Set by `retention demo`."""

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for field, variable in SECRETS.items():
            path = os.environ.get(f"{variable}_FILE")
            if path and not values.get(field) and not values.get(variable):
                values.pop(variable, None)  # an empty variable would precede the field's name
                values[field] = _read_secret(f"{variable}_FILE", path)
        return values

    @field_validator(*SECRETS, mode="before")
    @classmethod
    def _check_secret_file(cls, value: Any) -> Any:
        if isinstance(value, _Unreadable):
            raise ValueError(str(value))
        return value

    @field_validator(*_MAY_BE_MISSING, mode="after")
    @classmethod
    def _missing_if_empty(cls, secret: SecretStr | None) -> SecretStr | None:
        """Treat an empty secret as missing. Everyone would know an empty key."""
        return secret if secret and secret.get_secret_value().strip() else None

    @field_validator(*_OWN_KEYS, mode="after")
    @classmethod
    def _check_length(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (
            secret
            and (value := secret.get_secret_value())
            and not is_long_enough(value, LEAST_CHARACTERS)
        ):
            raise ValueError(short_key(variable(str(info.field_name))))
        return secret

    @field_validator("home", mode="after")
    @classmethod
    def _make_absolute(cls, home: Path) -> Path:
        home = home.expanduser().absolute()
        if home.exists() and not home.is_dir():
            text = gettext("RETENTION_HOME is {home!r}, which is a file; name a folder")
            raise ValueError(text.format(home=str(home)))
        return home

    @field_validator("now", mode="after")
    @classmethod
    def _assume_utc(cls, now: datetime | None) -> datetime | None:
        return now if now is None or now.tzinfo else now.replace(tzinfo=UTC)

    @field_validator(
        "timezone", "slack_api_url", "private_sources", "ask_url", "shop_origins", "default_role"
    )
    @classmethod
    def _check_text(cls, value: str, info: ValidationInfo) -> str:
        is_right, name, sentence = _texts()[str(info.field_name)]
        if not is_right(value):
            raise ValueError(sentence.format(**{name: value}))
        return value

    @field_validator("broker_url", "database_url")
    @classmethod
    def _check_scheme(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        scheme, is_url, _ = url.get_secret_value().partition("://")  # the rest may hold a password
        schemes, sentence = _schemes()[str(info.field_name)]
        if scheme and not (is_url and scheme in schemes):
            seen = f"{scheme}://…" if is_url else gettext("no URL")
            raise ValueError(sentence.format(seen=seen))
        return url

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            text = gettext(
                "RETENTION_PUBLIC_URL is {url!r}; write it like https://crm.shop.example"
            )
            raise ValueError(text.format(url=url))
        # Every e-mail has the URL in a header.
        if not url.isascii() or any(character.isspace() for character in url):
            sentence = gettext(
                "RETENTION_PUBLIC_URL is {url!r}; write it without blanks and with a name "
                "like münchen.example as xn--mnchen-3ya.example"
            )
            raise ValueError(sentence.format(url=url))
        return url

    @model_validator(mode="after")
    def _check_workspace(self) -> "Settings":
        if self.oauth and self.slack_bot_token and not self.slack_team_id:
            raise ValueError(
                gettext(
                    "SLACK_BOT_TOKEN is set beside SLACK_CLIENT_ID and SLACK_CLIENT_SECRET, but"
                    " SLACK_TEAM_ID is not: anybody may open /slack/install, and the first to "
                    "do so would get this desk. Set SLACK_TEAM_ID to your workspace's id (T…), "
                    "or leave SLACK_CLIENT_ID out"
                )
            )
        return self

    @model_validator(mode="after")
    def _check_public_key(self) -> "Settings":
        secret = self.events_key.get_secret_value() if self.events_key else ""
        if secret and set(shared_values(secret)) & set(shared_values(self.events_public_key)):
            raise ValueError(
                gettext(
                    "RETENTION_EVENTS_PUBLIC_KEY equals RETENTION_EVENTS_KEY, but everybody can "
                    "read the public key; make another one with: openssl rand -hex 16"
                )
            )
        return self

    @model_validator(mode="after")
    def _fill_defaults(self) -> "Settings":
        fill = object.__setattr__  # the model is frozen
        if not self.database_url.get_secret_value():
            fill(self, "database_url", SecretStr(f"sqlite:///{self.home}/state.db"))
        if not self.lake_url:
            fill(self, "lake_url", f"duckdb://{self.home}/lake")
        if not self.models_url:
            fill(self, "models_url", f"{self.home}/models")
        return self

    def is_switched_on(self, field: str) -> bool:
        """Return whether a setting has a value, here or in the process that uses it.

        `field`: name of the setting, such as ``smtp_url``.
        """
        return bool(getattr(self, field)) or variable(field) in self.secrets_elsewhere.split()

    @property
    def oauth(self) -> bool:
        """Whether the app can be installed by OAuth."""
        return bool(self.slack_client_id and self.slack_client_secret)

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def admin_ids(self) -> frozenset[str]:
        """Slack user ids that are admins from the start."""
        return frozenset(_words(self.admins))

    @property
    def shop_origin_names(self) -> frozenset[str]:
        """Origins whose pages may send browser events."""
        return frozenset(_words(self.shop_origins.lower()))

    @property
    def private_source_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Private networks that web sources may use."""
        return tuple(map(ip_network, _words(self.private_sources)))

    @property
    def short_keys(self) -> tuple[str, ...]:
        """Variables whose keys are long enough to start, but not to be safe."""
        return tuple(
            variable(field)
            for field in _OWN_KEYS
            if (secret := getattr(self, field))
            and (value := secret.get_secret_value())
            and not all(map(is_long_enough, shared_values(value)))
        )

    @property
    def takes_events(self) -> bool:
        """Whether live events can arrive."""
        return bool(self.events_key or self.events_public_key)

    @cached_property
    def keys(self) -> Keys:
        """The key and its predecessors, which still verify."""
        current, old = self.key, _words(self.old_secret_keys.get_secret_value())
        if not self.secret_key.get_secret_value():
            old += (self.home / "secret.key").read_text(encoding="ascii").split()[1:]
        return Keys((current, *(key.encode() for key in old)))

    @cached_property
    def key(self) -> bytes:
        """Root of every HMAC, salt and encryption key.

        It comes from the environment, else it is created once in the home.

        Raises `BadInput`: with PostgreSQL and no ``RETENTION_SECRET_KEY`` (several hosts cannot
        share a file of one host), or if the key of existing data is missing.
        """
        if configured := self.secret_key.get_secret_value():
            return configured.encode()
        if not self.database_url.get_secret_value().startswith("sqlite"):
            raise BadInput(
                gettext(
                    "RETENTION_SECRET_KEY is not set; it is required with PostgreSQL. Make one "
                    "with: openssl rand -hex 32"
                )
            )
        return read_or_create_key(self.home, self.database_url.get_secret_value())


def problems(error: ValidationError) -> list[str]:
    """Return one sentence per wrong setting.

    It names the variable, its value unless it is a secret, and how to write it.
    """
    return [_problem(detail) for detail in error.errors(include_url=False)]


def load_settings() -> Settings:
    """Read the settings."""
    try:
        return Settings()
    except ValidationError as error:
        raise BadInput("\n".join(problems(error))) from None
    except UnicodeDecodeError:
        raise BadInput(gettext("The file .env is not UTF-8 text; save it as UTF-8.")) from None
    except OSError as error:
        text = gettext(
            "The file .env cannot be read ({strerror}); make it readable for this user, or "
            "delete it."
        )
        raise BadInput(text.format(strerror=error.strerror)) from None


def load_settings_or_exit() -> Settings:
    """Read the settings, or exit with status 2. The error is printed."""
    try:
        return load_settings()
    except BadInput as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _problem(detail: Any) -> str:
    sentence = str(detail["msg"]).removeprefix("Value error, ")
    # Our own validators name the variable.
    if detail["type"] == "value_error" or not detail["loc"]:
        return sentence if sentence.endswith(".") else f"{sentence}."
    field = str(detail["loc"][0]).lower()
    name = variable(field)
    if field in SECRETS:
        return gettext("{name} cannot be used; write it as text.").format(name=name)
    text = gettext("{name} is {value!r}; write {form}.")
    return text.format(name=name, value=str(detail["input"]), form=_form(field))


def _form(field: str) -> str:
    """Explain how to write a setting."""
    forms = {
        "port": gettext("a whole number from 1 to 65535, such as 8000"),
        "health_port": gettext("a whole number from 1 to 65535, such as 8001"),
        "health_host": gettext("an IP address of this machine, such as 127.0.0.1"),
        "playground_port": gettext("a whole number from 1 to 65535, such as 8010"),
        "send_rate": gettext("a number above 0, at most 1000, such as 10"),
        "now": gettext("a date and time, such as 2026-03-01T09:00+00:00"),
        "doubted_labels": gettext("keep or drop"),
        "log_format": gettext("text or json"),
        "source_limit_mb": gettext("a whole number of MB from 1, such as 2048"),
        "memory_gb": gettext("a number of GB above 0, such as 6"),
        "job_minutes": gettext("a whole number of minutes from 1 to 1440, such as 15"),
        "training_minutes": gettext("a whole number of minutes from 1 to 1440, such as 15"),
        "training_threads": gettext("a whole number from 1, such as 4"),
        "demo": gettext("true or false"),
        "derive_relations": gettext("true or false"),
        "privacy_budget": gettext("a number from 0 to 100, such as 1"),
        "privacy_spend": gettext("a number above 0, at most 1000000, such as 500"),
    }
    return forms.get(field) or gettext("text")


class _Unreadable(str):
    """Error of a secret's file. The field's validator reports it."""

    __slots__ = ()


def _read_secret(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        reason = gettext("there is no such file; create it, or correct the path")
    except UnicodeDecodeError:
        reason = gettext("that file is not UTF-8 text; save the secret as plain text")
    except OSError as error:
        text = gettext("it cannot be read ({strerror}); name a file that this user may read")
        reason = text.format(strerror=error.strerror)
    text = gettext("{variable} is {path!r}, but {reason}")
    return _Unreadable(text.format(variable=variable, path=path, reason=reason))


def _texts() -> dict[str, tuple[Callable[[str], bool], str, str]]:
    """Return how texts are checked: the check, and the sentence with its field for the value."""
    return {
        "timezone": (
            lambda zone: zone in time_zones(),
            "zone",
            gettext(
                "RETENTION_TIMEZONE is {zone!r}, which is no IANA time zone; write e.g. "
                "Europe/London"
            ),
        ),
        "slack_api_url": (
            _is_web_address,
            "url",
            gettext(
                "SLACK_API_URL is {url!r}; write it like https://slack.com/api/, or leave it out"
            ),
        ),
        "private_sources": (
            _are_networks,
            "networks",
            gettext(
                "RETENTION_PRIVATE_SOURCES is {networks!r}; write addresses or networks such "
                "as 10.0.0.7 or 10.1.0.0/16"
            ),
        ),
        "ask_url": (
            lambda url: not url or _is_web_address(url),
            "url",
            gettext(
                "RETENTION_ASK_URL is {url!r}; write it like http://127.0.0.1:8080/v1, or leave "
                "it out"
            ),
        ),
        "shop_origins": (
            lambda origins: all(map(_is_origin, _words(origins))),
            "origins",
            gettext(
                "RETENTION_SHOP_ORIGINS is {origins!r}; write each origin like "
                "https://shop.example, without a path"
            ),
        ),
        "default_role": (
            lambda role: role in ("viewer", "analyst", "approver", "admin"),
            "role",
            gettext("RETENTION_DEFAULT_ROLE is {role!r}; use viewer, analyst, approver or admin"),
        ),
    }


def _schemes() -> dict[str, tuple[tuple[str, ...], str]]:
    """Return the allowed schemes of URLs, and the sentence about another one."""
    return {
        "broker_url": (
            BROKERS,
            gettext(
                "RETENTION_BROKER_URL is {seen}; write it like "
                "redis://:PASSWORD@HOST:6379/0, or leave it out for the embedded broker"
            ),
        ),
        "database_url": (
            DATABASES,
            gettext(
                "RETENTION_DATABASE_URL is {seen}; what the desk keeps is in SQLite "
                "(sqlite:///FILE) or in PostgreSQL "
                "(postgresql://USER:PASSWORD@HOST/DATABASE)"
            ),
        ),
    }


def _words(text: str) -> list[str]:
    """Split values that commas or blanks separate."""
    return text.replace(",", " ").split()


def _are_networks(text: str) -> bool:
    try:
        list(map(ip_network, _words(text)))
    except ValueError:
        return False
    return True


def _is_origin(url: str) -> bool:
    return _is_web_address(url) and url.count("/") == 2


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def warn_of_short_keys(settings: Settings) -> None:
    """Log each key that is too short, when a process starts."""
    for name in settings.short_keys:
        log.warning("%s", short_key(name))
