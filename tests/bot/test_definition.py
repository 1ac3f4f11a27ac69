"""`/retention definition` shows and changes what churn means."""

import json

import pytest

from bot.terminal import run
from retention.db import Database
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


def test_list_with_everybody_on_it_says_so_first(home, capsys, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    policy.write_text("[tiers]\nhigh = 0.01\nmedium = 0.005\n", encoding="utf-8")
    monkeypatch.setenv("RETENTION_POLICY", str(policy))
    assert run(["definition", "set", "--horizon", "56d"]) == 0
    capsys.readouterr()
    assert run(["sweep"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "does not tell them apart" in first
    assert "retention definition set --horizon 14d" in first


def test_list_with_nobody_on_it_says_so_first(home, capsys, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    policy.write_text("[tiers]\nhigh = 0.99\nmedium = 0.25\n", encoding="utf-8")
    monkeypatch.setenv("RETENTION_POLICY", str(policy))
    assert run(["sweep"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("No active customer is at high risk")
    assert "--tier medium" in first


@pytest.mark.parametrize("horizon", ["0d", "soon", "-7d"])
def test_wrong_horizon_is_named_and_changes_nothing(home, capsys, horizon):
    assert run(["definition", "set", "--horizon", horizon]) == 2
    assert horizon in capsys.readouterr().err
    database = Database.of(home)
    from retention.registry import current_definition

    with database.reading() as session:
        assert current_definition(session, home).source == "default"
    database.dispose()
