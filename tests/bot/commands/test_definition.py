"""`/retention definition` shows and changes what churn means."""

import pandas as pd
import pytest

from bot.terminal.terminal_runner import printed as printed_text
from retention.db import Database
from retention.features.order_rhythm import derive_definition, rhythm_of_gaps
from retention.registry.churn_definition import ChurnDefinition
from retention.settings import Settings


def test_definition_is_derived_shown_changed_and_derived_again(shop_home, cli):
    assert cli.json("definition")["source"] == "default"
    swept = cli.json("sweep")
    assert swept["definition"] == {"horizon_days": 14, "active_within_days": 28}
    assert cli.json("definition")["source"] == "derived"
    changed = cli.json("definition set --horizon 90d")
    assert (changed["horizon_days"], changed["active_within_days"]) == (90, 180)
    assert cli.json("sweep")["definition"] == {"horizon_days": 90, "active_within_days": 180}
    again = cli.json("definition derive")
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


def test_list_with_everybody_on_it_says_so_first(shop_home, cli, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    policy.write_text("[tiers]\nhigh = 0.01\nmedium = 0.005\n", encoding="utf-8")
    monkeypatch.setenv("RETENTION_POLICY", str(policy))
    cli.text("definition set --horizon 56d")
    _groups, first = cli.text("sweep --tier high").splitlines()[:2]
    assert "does not tell them apart" in first
    assert "retention definition set --horizon 14d" in first


def test_list_with_nobody_on_it_says_so_first(shop_home, cli, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    policy.write_text("[tiers]\nhigh = 0.99\nmedium = 0.25\n", encoding="utf-8")
    monkeypatch.setenv("RETENTION_POLICY", str(policy))
    _groups, first = cli.text("sweep --tier high").splitlines()[:2]
    assert first.startswith("No active customer is at high risk")
    assert "Without --tier" in first


@pytest.mark.parametrize("horizon", ["0d", "soon", "-7d"])
def test_wrong_horizon_is_named_and_changes_nothing(shop_home, cli, horizon):
    assert horizon in cli.error(f"definition set --horizon {horizon}")
    database = Database.of(shop_home.settings)
    from retention.registry import current_definition

    with database.reading() as session:
        assert current_definition(session).source == "default"
    database.dispose()
