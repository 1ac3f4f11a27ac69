"""A full disk, a damaged lake, a swapped model, a missing secret key.

Lost: a step that does not name the cause, a state that changed although the step was refused, or a
step that fails after the repair.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import func, select

from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Campaign, DirectoryEntry, Job
from retention.errors import Refused
from retention.faults import Code, diagnose
from retention.lake import Lake
from retention.privacy import pseudonym
from retention.registry import store
from retention.settings import Settings
from tests import shop
from tests.disk import fill, small_disk
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.retention.campaigns.samples import store_draft
from tests.retention.test_faults import HARMS, many
from tests.workers.harness import ask
from tests.world import add, change, model_version, scalar
from workers.job_requests import Sweep

MEGABYTES = 14


def count_row(injections: int, seed: int) -> Counts:
    """Break so many files, and count."""
    chance, counts = random.Random(seed), Counts()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="files")))
        made = shop.build(folder / "shop", customers=40, days=60)
        made.database.dispose()
        kinds: list[Callable[[], object]] = [
            lambda: _damage_lake(made.settings.home, folder / "copy", chance, counts),
            lambda: _swap_model(folder / "models", chance, counts),
            lambda: _lose_key(folder / "keys", counts),
        ]
        try:
            disk = stack.enter_context(small_disk(folder / "disk", MEGABYTES))
            full = FullDisk(disk)
            kinds.append(lambda: full.strike(chance, counts))
        except pytest.skip.Exception as refusal:
            print(f"without a full disk: {refusal}")
        for number in range(injections):
            counts.inject()
            kinds[number % len(kinds)]()
    return counts


def _refusal(deed: Callable[[], object]) -> BaseException | None:
    try:
        deed()
    except Exception as error:
        return error
    return None


def _digest(folder: Path, *without: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(without or ("\0",))
    }


class FullDisk:
    """An installation on a small disk."""

    def __init__(self, disk: Path) -> None:
        self.disk, self.number = disk, 0
        self.settings = killed_jobs.settings_of(disk / "home")
        upgrade(self.settings)
        self.database = Database.of(self.settings)
        self.lake = Lake.open(self.settings)
        self.lake.upsert("items", pd.DataFrame({"item_id": ["i1"], "title": ["Tea"]}))

    def strike(self, chance: random.Random, counts: Counts) -> None:
        """Fill the disk, take a step, free it, and take the step again."""
        self.number += 1
        name, deed, state = chance.choice(self._steps())
        before = state()
        filler = fill(self.disk)
        error = _refusal(deed)
        # A small step may find its room inside the database's file.
        if error is not None:
            fault = diagnose(error, self.settings)
            code = fault.code if fault else error
            counts.expect(code == Code.DISK_FULL, f"full disk, {name}: {code!r}")
            filler.unlink()
            counts.expect(state() == before, f"full disk, {name}: half-written")
            counts.expect(_refusal(deed) is None, f"{name} fails though the disk is free")
        else:
            filler.unlink()
        counts.expect(state() > before, f"full disk, {name}: nothing is stored in the end")

    def _steps(self) -> list[tuple[str, Callable[[], object], Callable[[], int]]]:
        number, database = self.number, self.database

        def rows(table: Any) -> Callable[[], int]:
            return lambda: int(scalar(database, select(func.count()).select_from(table)) or 0)

        def draft() -> object:
            options = {"by": "U0ANALYST", "now": clock.now()}
            return change(database, store_draft, f"c{number}", **options)

        items = many(4000) if number % 2 else many(200)
        return [
            ("job", lambda: ask(database, Sweep(), f"k{number}"), rows(Job)),
            ("draft", draft, rows(Campaign)),
            (
                "lake",
                lambda: self.lake.upsert("items", items),
                lambda: int(Lake.open(self.settings).table("items").count().execute()),
            ),
        ]


def _damage_lake(home: Path, copy: Path, chance: random.Random, counts: Counts) -> None:
    """Damage a file; reading names it, overwrites nothing, and works after the repair."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home, copy)
    settings = Settings(home=copy, database_url="", _env_file=None)
    harm = chance.choice(sorted(HARMS))
    HARMS[harm](copy / "lake")
    before = _digest(copy / "lake", ".")
    error = _refusal(lambda: Lake.open(settings).table("events").execute())
    fault = diagnose(error, settings) if error else None
    code = fault.code if fault else error
    counts.expect(code == Code.LAKE_DAMAGED, f"lake, {harm}: {code!r}")
    counts.expect(_digest(copy / "lake", ".") == before, f"lake, {harm}: overwritten")
    others = _refusal(lambda: Lake.open(settings).table("customers").execute())
    counts.expect(others is None, f"lake, {harm}: customers cannot be read: {others!r}")
    shutil.rmtree(copy / "lake")
    shutil.copytree(home / "lake", copy / "lake")
    again = _refusal(lambda: Lake.open(settings).table("events").execute())
    counts.expect(again is None, f"lake, {harm}: {again!r} after the restore")


def _swap_model(home: Path, chance: random.Random, counts: Counts) -> None:
    """Put another artefact in a model's place; it is refused, and the other version serves."""
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home=home, database_url="", _env_file=None)
    rows = {
        name: store.save(settings, model_version(settings, name), name.encode() * 50)
        for name in ("champion", "challenger")
    }
    paths = sorted(path for path in home.rglob("*") if path.is_file() and "secret" not in path.name)
    paths = [path for path in paths if path.read_bytes().startswith((b"champion", b"challenger"))]
    victim = chance.choice(paths)
    good = victim.read_bytes()
    other = next(path for path in paths if path != victim).read_bytes()
    bad = chance.choice((other, good[:-1], good + b"x", b"", bytes([good[0] ^ 1]) + good[1:]))
    victim.write_bytes(bad)
    swapped, kept = rows["champion"], rows["challenger"]
    if good.startswith(b"challenger"):
        swapped, kept = kept, swapped
    error = _refusal(lambda: store.load(settings, swapped))
    counts.expect(isinstance(error, Refused), f"a swapped model is loaded: {error!r}")
    counts.expect(_refusal(lambda: store.load(settings, kept)) is None, "the other model is lost")
    counts.expect(victim.read_bytes() == bad, "a swapped model was overwritten")
    victim.write_bytes(good)
    counts.expect(_refusal(lambda: store.load(settings, swapped)) is None, "a model stays refused")


@contextmanager
def _keyed(home: Path) -> Iterator[Path]:
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home=home, database_url="", secret_key="", _env_file=None)
    upgrade(settings)
    database = Database.of(settings)
    row = DirectoryEntry(customer_id="42", pseudonym=pseudonym(settings.key, "42"))
    add(database, row)
    database.dispose()
    yield home / "secret.key"


def _lose_key(home: Path, counts: Counts) -> None:
    """Delete the key; nothing makes a new one, and the old one serves again."""
    with _keyed(home) as path:
        content = path.read_bytes()
        path.unlink()
        settings = Settings(home=home, database_url="", secret_key="", _env_file=None)
        error = _refusal(lambda: settings.key)
        counts.expect(isinstance(error, Refused), f"a missing key: {error!r}")
        counts.expect(not path.exists(), "a missing key was replaced")
        path.write_bytes(content)
        path.chmod(0o600)
        settings = Settings(home=home, database_url="", secret_key="", _env_file=None)
        counts.expect(_refusal(lambda: settings.key) is None, "the key is still refused")
