"""Test linking by similarity on customers with known duplicates."""

import socket

import pandas as pd
import pytest

from retention.lake import Lake
from retention.lake.identity import IdentityRules, canonical_ids, links, probabilistic, review
from retention.lake.importing.import_files import import_files
from tests import readonly
from tests.people import people

pytestmark = pytest.mark.nightly

RULES = IdentityRules(after_import=False)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Return a lake of 500 persons with 150 duplicates, and the ground truth."""
    root = tmp_path_factory.mktemp("people")
    from retention.settings import Settings

    policy = root / "policy.toml"
    policy.write_text("[identity]\nafter_import = false\n")
    settings = Settings(home=root / "home", policy=policy, _env_file=None)
    frame, truth = people(500)
    frame.to_parquet(root / "customers.parquet")
    lake = Lake.open(settings)
    report = import_files(lake, None, settings, "customers", [str(root / "customers.parquet")])
    assert report.linked == {}
    with readonly.protected(lake.root):
        yield lake, truth


@pytest.fixture
def known(imported, tmp_path):
    """Return a copy of that lake, and the ground truth."""
    lake, truth = imported
    readonly.copy_folder(lake.root, tmp_path / "lake")
    return Lake(tmp_path / "lake", tmp_path / "scratch"), truth


def _rates(pairs: set[frozenset[str]], truth: set[frozenset[str]]) -> tuple[float, float]:
    right = len(pairs & truth)
    return right / len(pairs), right / len(truth)


def test_finds_duplicates_offline(known, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("splink asked the internet")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr("webbrowser.open", refused)
    lake, truth = known
    by_key = links.link_exact(lake, RULES, by="me")
    assert by_key.accepted > 0
    result = probabilistic.link(lake, RULES, accept=0.95, review=0.5, by="me")
    assert result.accepted > 0
    held = {
        state: {
            frozenset((pair["customer_id"], pair["same_as"]))
            for pair in review.review(lake, state=state)
        }
        for state in ("accepted", "proposed")
    }
    precision, recall = _rates(held["accepted"], truth)
    assert precision >= 0.98
    assert recall >= 0.6
    _, reached = _rates(held["accepted"] | held["proposed"], truth)
    assert reached > recall or not held["proposed"]
    assert all(
        0.5 <= pair["probability"] < 0.95 or "held_back" in pair["evidence"]
        for pair in review.review(lake)
        if pair["method"] == "probable"
    )
    assert "name" in review.review(lake, state="accepted")[-1]["evidence"]
    found_again = lake.table("links").select("customer_id", "same_as").distinct().execute()
    # What was decided is not asked again.
    assert probabilistic._undecided(canonical_ids.history(lake), found_again).empty


def test_addresses_with_different_digits_are_two_customers(known):
    """A letter more or less is a typo; different digits mean different people."""
    lake, _ = known
    ann = {"first": "ann", "last": "smith", "low": "ann", "high": "smith", "locale": None}
    at = "@mail.example"
    some = [
        ann | {"customer_id": who, "email": f"{local}{at}", "email_local": local, "postcode": where}
        for who, local, where in (
            ("79", "ann.smith79", "P1"),
            ("89", "ann.smith89", "P2"),
            ("typo", "an.smith79", "P3"),
        )
    ]
    everyone = pd.concat(
        [probabilistic._attributes(lake, RULES), pd.DataFrame(some)], ignore_index=True
    )
    scored = probabilistic.similar_pairs(everyone.astype(object).where(everyone.notna(), None), 0.5)
    pairs = {frozenset(pair) for pair in zip(scored["customer_id"], scored["same_as"], strict=True)}
    assert frozenset({"79", "typo"}) in pairs
    assert not {frozenset({"79", "89"}), frozenset({"typo", "89"})} & pairs


def test_reports_missing_data(known):
    lake, _ = known
    everyone = probabilistic._attributes(lake, RULES)
    assert "likeness needs 50" in probabilistic._missing_data(everyone.head(20))
    bare = everyone.assign(email=None, phone=None, postcode=None)
    assert "likeness needs names" in probabilistic._missing_data(bare)
    assert probabilistic._missing_data(everyone) == ""
