"""`/retention definition` shows and changes what churn means."""

import json

import pandas as pd
import pytest

from bot.terminal import run
from bot.terminal_runner import printed as printed_text
from retention.db import Database
from retention.features.order_rhythm import derive_definition, rhythm_of_gaps
from retention.registry.churn_definition import ChurnDefinition
from retention.settings import Settings


@pytest.fixture
def home(shop_copy, monkeypatch) -> Settings:
    monkeypatch.setenv("RETENTION_HOME", str(shop_copy.settings.home))
    monkeypatch.setenv("RETENTION_NOW", shop_copy.end.isoformat())
    return shop_copy.settings


def printed(capsys, *words: str) -> dict:
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_definition_is_derived_shown_changed_and_derived_again(home, capsys):
    assert printed(capsys, "definition")["source"] == "default"
    swept = printed(capsys, "sweep")
    assert swept["definition"] == {"horizon_days": 14, "active_within_days": 28}
    assert printed(capsys, "definition")["source"] == "derived"
    changed = printed(capsys, "definition", "set", "--horizon", "90d")
    assert (changed["horizon_days"], changed["active_within_days"]) == (90, 180)
    assert printed(capsys, "sweep")["definition"] == {
        "horizon_days": 90,
        "active_within_days": 180,
    }
    again = printed(capsys, "definition", "derive")
    assert (again["horizon_days"], again["source"]) == (14, "derived")


def test_evidence_says_what_is_not_covered_and_what_is_too_few():
    slow = {"customer_id": range(100), "gap": [60] * 40 + [129] * 60, "count": 5}
    few = {"customer_id": range(12), "gap": 40, "count": 1}
    texts = []
    for gaps in (slow, few):
        derived = derive_definition(rhythm_of_gaps(pd.DataFrame(gaps), 300))
        definition = ChurnDefinition(
            derived.horizon_days,
            derived.active_within_days,
            "derived",
            {**derived.evidence, "limit": derived.limit},
        ).as_dict()
        data = {**definition, "definition": definition, "retired": None, "changed": False}
        texts.append(printed_text("bot/definition", data, Settings()))
    assert all(figure in texts[0] for figure in ("60%", "90 ", "300 "))
    assert all(figure in texts[1] for figure in ("12 ", "50", "20", "63 "))


def test_list_with_everybody_on_it_says_so_first(home, capsys, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    policy.write_text("[tiers]\nhigh = 0.01\nmedium = 0.005\n", encoding="utf-8")
    monkeypatch.setenv("RETENTION_POLICY", str(policy))
    assert run(["definition", "set", "--horizon", "56d"]) == 0
    capsys.readouterr()
    assert run(["sweep", "--tier", "high"]) == 0
    _groups, first = capsys.readouterr().out.splitlines()[:2]
    assert "does not tell them apart" in first
    assert "retention definition set --horizon 14d" in first


def test_list_with_nobody_on_it_says_so_first(home, capsys, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    policy.write_text("[tiers]\nhigh = 0.99\nmedium = 0.25\n", encoding="utf-8")
    monkeypatch.setenv("RETENTION_POLICY", str(policy))
    assert run(["sweep", "--tier", "high"]) == 0
    _groups, first = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith("No active customer is at high risk")
    assert "Without --tier" in first


@pytest.mark.parametrize("horizon", ["0d", "soon", "-7d"])
def test_wrong_horizon_is_named_and_changes_nothing(home, capsys, horizon):
    assert run(["definition", "set", "--horizon", horizon]) == 2
    assert horizon in capsys.readouterr().err
    database = Database.of(home)
    from retention.registry import current_definition

    with database.reading() as session:
        assert current_definition(session, home).source == "default"
    database.dispose()
