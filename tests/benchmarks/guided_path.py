"""Check that the demo's guided path ends in a measured gain, and that an effect of 0 does not.

Each home is a copy of one prepared demo home with another random key. The key decides which
households respond. The steps are those of the demo's welcome message, with the product's tasks:
sweep without a model, draft from the list, approve, send, measure. The orders of the window are
the same in all homes, so they are imported once.

    nice python -m tests.benchmarks.guided_path [--homes 20] [--folder DIR] [--visits SHARE]
"""

import argparse
import logging
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

from bot.playground import demo
from retention import clock
from retention.campaigns.lifecycle.states import Step
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Campaign, Job
from retention.demo import EFFECT, START, Effect
from retention.demo.journey import feed, prepare
from retention.lake import Lake
from retention.recommend.bandit import assignment
from retention.settings import Settings
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignDraft, CampaignMeasure, CampaignSend
from workers.job_requests import Request, Sweep
from workers.queue import jobs
from workers.tasks.runner import run_job

ANALYST, LEAD, CHANNEL = "U0ANALYST", "U0LEAD", "C0CRM"
KNOWN = timedelta(days=36)  # orders after the start, for the longest window
NONE = replace(EFFECT, visits_with_coupon=0.0, visits_with_reminder=0.0)


@dataclass(frozen=True, slots=True)
class PathResult:
    """One home's campaign: its size and the intervals of its result."""

    customers: int
    expected_profit: float
    buyers: tuple[float, float, float]
    profit: tuple[float, float, float]
    advice: str

    @property
    def shows_gain(self) -> bool:
        """Whether more buyers are beyond doubt."""
        return self.advice != "too_small" and self.buyers[0] > 0


def settings_of(home: Path) -> Settings:
    """Return the demo's settings for a home."""
    return Settings(
        home=home,
        demo=True,
        admins="U0ADMIN",
        timezone="America/New_York",
        policy=demo.POLICY,
        _env_file=None,
    )


def prepared(home: Path) -> None:
    """Prepare a demo home that also has the orders of the window."""
    settings = settings_of(home)
    upgrade(settings)
    database = Database.of(settings)
    prepare(database)
    demo._seed(database)
    with clock.frozen(START + KNOWN):
        feed(database, Lake.open(settings), START + KNOWN)


def walk(home: Path, effect: Effect, tier: str | None = None) -> PathResult:
    """Take the guided path in a home.

    Parameters
    ----------
    home : Path
        A prepared home with its own key.
    effect : Effect
        The simulated effect.
    tier : str, optional
        Draft for this tier instead of from the list.
    """
    settings = settings_of(home)
    database = Database.of(settings)
    clock.configure(fixed=START)
    swept = _run(settings, database, Sweep())
    request = (
        CampaignDraft(tier=tier)
        if tier
        # as the draft's button widens it
        else CampaignDraft(cohort_id=swept.result["cohort_id"], tier="medium")
    )
    drafted = _run(settings, database, request).result
    campaign_id = drafted["campaign_id"]
    with database.transaction() as session:
        decisions.submit(session, Step(campaign_id, ANALYST, 1))
    with database.transaction() as session:
        decisions.approve(session, Step(campaign_id, LEAD, 1))
    clock.configure(fixed=START + timedelta(hours=drafted["clearance_hours"] + 1))
    _run(settings, database, CampaignSend(campaign_id=campaign_id, version=1), LEAD)
    with database.reading() as session:
        ends_at = session.get_one(Campaign, campaign_id).window_ends_at
    assert ends_at < START + KNOWN
    clock.configure(fixed=ends_at + timedelta(hours=1))
    feed(database, Lake.open(settings), clock.now(), effect=effect)
    result = _run(settings, database, CampaignMeasure(campaign_id=campaign_id)).result
    effects = result["effects"]

    def interval(name: str, middle: str = "per_customer", ends: str = "") -> tuple[Any, Any, Any]:
        return (effects[name][f"{ends}low"], effects[name][middle], effects[name][f"{ends}high"])

    return PathResult(
        drafted["audience"],
        drafted["plan"]["profit"],
        interval("buyers"),
        interval("profit", "total", "total_"),
        result["advice"],
    )


def _run(settings: Settings, database: Database, request: Request, user: str = ANALYST) -> Job:
    with database.transaction() as session:
        job = jobs.submit(
            session, request, requested_by=user, channel=CHANNEL, idem_key=secrets.token_hex(8)
        ).job
    run_job(database, job.id, "benchmark")
    with database.reading() as session:
        done = session.get_one(Job, job.id)
    if done.state != "done":
        raise SystemExit(f"{done.kind} {done.state}: {done.error}")
    return done


def results(
    base: Path, homes: int, effect: Effect, tier: str | None = None
) -> Iterator[PathResult]:
    """Take the path in copies of a prepared home, each with a random key."""
    for _ in range(homes):
        with tempfile.TemporaryDirectory(dir=base.parent) as folder:
            home = Path(folder) / "home"
            shutil.copytree(base, home)
            (home / "secret.key").write_text(secrets.token_hex(32))
            yield walk(home, effect, tier)


def main() -> None:
    """Print the results with the stated effect and without one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--homes", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="keeps the prepared home for another run")
    parser.add_argument("--visits", type=float, help="share of extra visits instead of the demo's")
    parser.add_argument("--tier", choices=("high", "medium"))
    parser.add_argument("--only", choices=("stated", "none"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    # Responses do not depend on the recommended items, which take most of the time.
    mock.patch.object(assignment.ListAssigner, "lists", return_value={}).start()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="guided-path-"))
    folder.mkdir(exist_ok=True)
    base = folder / "prepared"
    if not base.exists():
        prepared(base)
    stated = EFFECT
    if options.visits is not None:
        stated = replace(EFFECT, visits_with_coupon=options.visits)
    for name, effect in (("stated", stated), ("none", NONE)):
        if options.only not in (None, name):
            continue
        started, gains = perf_counter(), 0
        print(f"effect {name}: {effect.visits_with_coupon} extra visits with a coupon")
        for number, found in enumerate(results(base, options.homes, effect, options.tier), 1):
            gains += found.shows_gain
            low, middle, high = found.buyers
            print(
                f"{number:3} {found.customers} customers, expected profit "
                f"{found.expected_profit:8.2f}; buyers {middle:+.3f} ({low:+.3f} to {high:+.3f}); "
                "profit {1:8.2f} ({0:.2f} to {2:.2f}); ".format(*found.profit)
                + found.advice,
                flush=True,
            )
        seconds = (perf_counter() - started) / options.homes
        print(f"{gains} of {options.homes} show more buyers; {seconds:.1f} s a home", flush=True)


if __name__ == "__main__":
    main()
