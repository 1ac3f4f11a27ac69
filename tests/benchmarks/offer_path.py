"""Count how often the demo's test of two discounts ends in a proposed change of the policy.

Each home is a copy of one prepared demo home with a key of its own. Key and ids, which decide who
responds, follow from its number. The steps are those of docs/crm/learn_offers.md, with the
product's tasks: draft, variant B, submit, approve, send, measure; then a second person approves the
proposal, and an admin goes back.

    nice python -m tests.benchmarks.offer_path [--homes 10] [--folder DIR]
"""

import argparse
import logging
import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from retention import clock
from retention.campaigns.lifecycle.copy_test import CopyTest, changed_test
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.states import Step, find_campaign
from retention.campaigns.message.parts import PartChanges
from retention.db import Database
from retention.demo import START
from retention.demo.journey import feed
from retention.lake import Lake
from retention.recommend.bandit import assignment
from retention.risk.policy import load_policy
from retention.risk.policy_edits import roll_back
from retention.settings import Settings
from tests.benchmarks.guided_path import ANALYST, LEAD, _run, prepared, settings_of
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignDraft, CampaignMeasure, CampaignSend
from workers.campaigns.policy_proposals import decide, listed

ADMIN, KIND, SMALLER = "U0ADMIN", "thank_you", 0.02


@dataclass(frozen=True, slots=True)
class OfferPath:
    """What the result said, the proposals, and the discounts before, after and rolled back."""

    offers: dict[str, Any]
    proposals: list[dict[str, Any]]
    discounts: tuple[float, ...]


def discount(settings: Settings) -> float:
    """The discount of the kind of campaign in force."""
    return float(getattr(load_policy(settings).kinds, KIND).discount)


def walk(home: Path) -> OfferPath:
    """Take the path in a home."""
    settings = settings_of(home)
    database = Database.of(settings)
    clock.configure(fixed=START)
    drafted = _run(settings, database, CampaignDraft(campaign_kind=KIND)).result
    campaign_id = drafted["campaign_id"]
    b = changed_test(CopyTest(variants=()), variant="B", message=PartChanges(), discount=SMALLER)
    with database.transaction() as session:
        decisions.edit(session, Step(campaign_id, ANALYST, 1), Changes(test=b))
    # The demo's mail server is not needed: the responses do not depend on it.
    place = "retention.campaigns.lifecycle.decisions.sending_channel"
    with mock.patch(place, return_value="smtp"), database.transaction() as session:
        decisions.submit(session, Step(campaign_id, ANALYST, 2))
    for user in (LEAD, ADMIN):
        with database.transaction() as session:
            if find_campaign(session, campaign_id).state == "submitted":
                decisions.approve(session, Step(campaign_id, user, 2))
    clock.configure(fixed=START + timedelta(hours=drafted["clearance_hours"] + 1))
    _run(settings, database, CampaignSend(campaign_id=campaign_id, version=2), LEAD)
    with database.reading() as session:
        ends_at = find_campaign(session, campaign_id).window_ends_at
    assert ends_at is not None
    clock.configure(fixed=ends_at + timedelta(hours=1))
    feed(database, Lake.open(settings), clock.now())
    result = _run(settings, database, CampaignMeasure(campaign_id=campaign_id)).result
    discounts = [discount(settings)]
    with database.reading() as session:
        proposals = listed(session)
    for one in proposals:
        with database.transaction() as session:
            decide(session, one["id"], LEAD)
        discounts.append(discount(settings))
        with database.transaction() as session:
            roll_back(session, 0, ADMIN)
        discounts.append(discount(settings))
    return OfferPath(result["offers"], proposals, tuple(discounts))


def walk_copy(base: Path, number: int) -> OfferPath:
    """Take the path in a copy of a prepared home, with the key of a number."""
    with tempfile.TemporaryDirectory(dir=base.parent) as folder:
        home = Path(folder) / "home"
        shutil.copytree(base, home)
        (home / "secret.key").write_text(sha256(str(number).encode()).hexdigest())
        rng = Random(number)
        with (
            mock.patch("secrets.choice", rng.choice),
            mock.patch("secrets.token_hex", lambda size=16: rng.randbytes(size).hex()),
            # Responses do not depend on the recommended items, which take most of the time.
            mock.patch.object(assignment.ListAssigner, "lists", return_value={}),
        ):
            return walk(home)


def main() -> None:
    """Print each home's gain, and how many have a proposal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--homes", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="keeps the prepared home for another run")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="offer-path-"))
    folder.mkdir(exist_ok=True)
    base = folder / "prepared"
    if not base.exists():
        prepared(base)
    proposed = 0
    for number in range(options.homes):
        path = walk_copy(base, number)
        proposed += bool(path.proposals)
        gain = path.offers["gain"]
        print(
            f"{number:3} gain {gain['value']:.2f} ({gain['low']:.2f} to {gain['high']:.2f}); "
            f"discounts {path.discounts}",
            flush=True,
        )
    print(f"{proposed} of {options.homes} propose the smaller discount", flush=True)


if __name__ == "__main__":
    main()
