"""The data of a shop: of an installation, or of frames in a temporary folder."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

import pandas as pd
from pydantic import ValidationError

from retention import clock
from retention.db import Database
from retention.errors import BadInput
from retention.lake import Lake, coverage
from retention.lake.suggesting.preview import Preview, summarise
from retention.registry.churn_definition import (
    ChurnDefinition,
    definition_in_force,
    derive_from,
    resolve_definition,
)
from retention.risk.policy import Policy, load_policy
from retention.settings import Settings, load_settings, problems
from retention.shop.tables import ColumnChoice, read_table
from retention.text import gettext

Moment = datetime | date | str | None


@dataclass
class ShopData:
    """The lake of a shop, with what is known about it."""

    lake: Lake
    settings: Settings
    definition: ChurnDefinition
    database: Database | None = None
    columns: tuple[ColumnChoice, ...] = ()
    summary: Preview | None = None

    @classmethod
    def from_frames(
        cls,
        tables: Mapping[str, Any],
        names: Mapping[str, str],
        *,
        horizon: int | None,
        active_within: int | Literal["ever"] | None,
        timezone: str | None,
    ) -> "ShopData":
        """Import frames or files into a temporary folder.

        `tables`: ``events`` and, unless None, ``customers`` and ``items``.
        """
        check_days("horizon", horizon)
        if active_within != "ever":
            check_days("active_within", active_within)
        settings = _temporary_settings(timezone)
        try:
            lake = Lake.open(settings)
            orders = tables["events"]
            report, choice = read_table(lake, settings, "events", orders, names, zone=timezone)
            given = [name for name in ("customers", "items") if tables[name] is not None]
            others = [read_table(lake, settings, name, tables[name], {})[1] for name in given]
            lake.con.disconnect()
            zone = timezone or report.timezone or settings.timezone
            settings = settings.model_copy(update={"timezone": zone})
            lake = Lake.open(settings)
            active: Any = "definition" if active_within is None else active_within
            active = None if active == "ever" else active
            return cls(
                lake,
                settings,
                resolve_definition(derive_from(lake), horizon, active),
                columns=(choice, *others),
                summary=summarise(lake, zone, report),
            )
        except BaseException:
            shutil.rmtree(settings.home, ignore_errors=True)
            raise

    @classmethod
    def of_installation(cls, home: Path | None) -> "ShopData":
        """Open the data of an installation."""
        settings = load_settings() if home is None else _settings_of(home)
        database = Database.of(settings)
        if database.is_sqlite and not Path(database.url.database or "").is_file():
            message = gettext("There is no installation in {home}; `retention init` makes one.")
            raise BadInput(message.format(home=settings.home))
        lake = Lake.open(settings)
        return cls(lake, settings, definition_in_force(lake, database), database=database)

    def close(self) -> None:
        """Close the lake, and delete a temporary folder."""
        if "con" in self.lake.__dict__:
            self.lake.con.disconnect()
        if self.database is None:
            shutil.rmtree(self.settings.home, ignore_errors=True)
        else:
            self.database.dispose()

    @cached_property
    def policy(self) -> Policy:
        """The shop's policy."""
        return load_policy(self.settings)

    @property
    def end(self) -> datetime:
        """The end of the data."""
        moment = self.lake.as_of(None, self.definition.horizon_days)
        return coverage.training_cutoff(self.lake, moment.at)

    def customers(self) -> list[str]:
        """Return the customers with orders, by their first order."""
        events = self.lake.table("events", before=self.end)
        bought = events.filter(events.event_type == "purchase")
        first = bought.group_by("customer_id").aggregate(at=bought.occurred_at.min())
        return first.order_by("at", "customer_id").customer_id.execute().tolist()

    def defined(self, horizon: int | None) -> ChurnDefinition:
        """Return the churn definition with another horizon.

        `horizon`: in days; None: the shop's.
        Raises `BadInput`: if it is no number of days.
        """
        check_days("horizon", horizon)
        return resolve_definition(self.definition, horizon)

    def moment(self, name: str, value: Moment) -> datetime | None:
        """Return a moment in UTC; a naive one is in the shop's time zone."""
        if value is None:
            return None

        try:
            stamp = pd.Timestamp(value)
        except (ValueError, TypeError):
            stamp = pd.NaT
        if stamp is pd.NaT:
            message = gettext("{name} is {value!r}; write it like 2025-03-31.")
            raise BadInput(message.format(name=name, value=value), field=name)
        moment = cast(datetime, stamp.to_pydatetime(warn=False))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(self.settings.timezone))
        return moment.astimezone(UTC)

    def own_ids(self, ids: "pd.Series") -> "pd.Series":
        """Return customer ids in the type of the frames."""
        is_integer = bool(self.columns) and self.columns[0].has_integer_ids
        if is_integer and ids.str.fullmatch(r"-?\d{1,18}").all():
            return ids.astype("int64")
        return ids


def check_days(name: str, days: object) -> None:
    """Refuse what is no number of days."""
    if days is not None and (not isinstance(days, int) or isinstance(days, bool) or days < 1):
        message = gettext("{name} is {days!r}; give a whole number of days from 1.")
        raise BadInput(message.format(name=name, days=days), field=name)


def check_count(name: str, number: object) -> None:
    """Refuse what is no count."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        message = gettext("{name} is {number!r}; give a whole number from 1.")
        raise BadInput(message.format(name=name, number=number), field=name)


def _temporary_settings(timezone: str | None) -> Settings:
    """Return the installation's settings with a new temporary home."""
    if timezone is not None and timezone not in clock.time_zones():
        message = gettext(
            "timezone is {zone!r}, which is no IANA time zone; write e.g. Europe/London."
        )
        raise BadInput(message.format(zone=timezone), field="timezone")
    settings = load_settings()
    folder = Path(tempfile.mkdtemp(prefix="retention-shop-"))
    update: dict[str, Any] = {"home": folder, "lake_url": f"duckdb://{folder}/lake"}
    return settings.model_copy(update=update | ({"timezone": timezone} if timezone else {}))


def _settings_of(home: Path) -> Settings:
    try:
        return Settings(home=home)
    except ValidationError as error:
        raise BadInput("\n".join(problems(error))) from None
