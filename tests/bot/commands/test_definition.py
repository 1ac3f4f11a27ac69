"""`/retention definition` shows and changes what churn means."""

import pandas as pd
import pytest

from bot.terminal.terminal_runner import printed as printed_text
from retention.features.order_rhythm import derive_definition, rhythm_of_gaps
from retention.registry.churn_definition import ChurnDefinition
from retention.settings import Settings


def test_definition_is_derived_shown_changed_and_derived_again(shop_home, cli):
    assert cli.json("definition")["source"] == "default"
    swept = cli.json("sweep")
    assert swept["definition"] == {"horizon_days": 14, "active_within_days": 28, "means": "order"}
    assert cli.json("definition")["source"] == "derived"
    changed = cli.json("definition set --horizon 90d")
    assert (changed["horizon_days"], changed["active_within_days"]) == (90, 180)
    assert cli.json("sweep")["definition"] == {
        "horizon_days": 90,
        "active_within_days": 180,
        "means": "order",
    }
    again = cli.json("definition derive")
    assert (again["horizon_days"], again["source"]) == (14, "derived")


def test_evidence_says_what_is_not_covered_and_what_is_too_few():
    slow = {"customer_id": range(100), "gap": [60] * 40 + [129] * 60, "count": 5}
    few = {"customer_id": range(12), "gap": 40, "count": 1}
    texts = []
    for gaps in (slow, few):
        derived = derive_definition(rhythm_of_gaps(pd.DataFrame(gaps), 300))
        days = (derived.horizon_days, derived.active_within_days)
        evidence = {**derived.evidence, "limit": derived.limit}
        definition = ChurnDefinition(*days, "derived", evidence).as_dict()
        data = {**definition, "definition": definition, "retired": None, "changed": False}
        texts.append(printed_text("bot/definition", data, Settings()))
    assert all(figure in texts[0] for figure in ("60%", "90 ", "300 "))
    assert all(figure in texts[1] for figure in ("12 ", "50", "20", "63 "))


def test_list_with_everybody_or_nobody_on_it_says_so_first(shop_home, cli, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    monkeypatch.setenv("RETENTION_POLICY", str(policy))

    def first_line(tiers: str) -> str:
        policy.write_text(f"[tiers]\n{tiers}\n", encoding="utf-8")
        return cli.text("sweep --tier high").splitlines()[1]  # after the groups

    first = first_line("high = 0.99\nmedium = 0.25")
    assert first.startswith("No active customer is at high risk")
    assert "Without --tier" in first
    cli.text("definition set --horizon 56d")
    first = first_line("high = 0.01\nmedium = 0.005")
    assert "does not tell them apart" in first
    assert "retention definition set --horizon 14d" in first


@pytest.mark.parametrize("horizon", ["0d", "soon", "-7d"])
def test_wrong_horizon_is_named_and_changes_nothing(home, cli, horizon):
    assert horizon in cli.error(f"definition set --horizon {horizon}")
    assert cli.json("definition")["source"] == "default"
