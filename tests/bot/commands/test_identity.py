"""Test `retention identity` from end to end."""

import pandas as pd
import pytest

from retention.templating import text


@pytest.fixture
def home(home, cli):
    """A shop with customers of two systems."""
    phone, at = (
        "+447700900123",
        pd.to_datetime(["2025-01-01", "2025-01-03", "2025-01-05"], utc=True),
    )
    customers = pd.DataFrame({"customer_id": ["web-1", "store-1", "store-2"]})
    events = customers.assign(event_type="purchase", amount=9.0, occurred_at=at)
    customers["email"] = ["ann@x.org", "Ann@X.org", None]
    customers["phone"] = [phone, None, phone]
    customers["name"] = ["Ann Smith", "Ann Smith", "Bob Jones"]
    for table, frame in (("events", events), ("customers", customers)):
        frame.to_parquet(f"{table}.parquet")
        reply = cli.text(f"import {table} {table}.parquet")
    assert "1 customer id linked" in reply
    assert "1 pair left to a person" in reply


@pytest.mark.nightly
def test_from_link_to_undo(home, cli, tmp_path):
    assert cli.json("identity")["merged_ids"] == 1
    linked = cli.json("identity link --threshold 0.9 --review 0.6")
    assert (linked["exact"]["accepted"], linked["accept"]) == (0, 0.9)
    assert "likeness needs 50" in linked["probable"]["note"]
    waiting = cli.json("identity review --csv pairs.csv")["pairs"]
    names = [waiting[0][which]["name"] for which in ("earlier", "later")]
    assert sorted(names) == ["Ann Smith", "Bob Jones"]
    assert len(pd.read_csv(tmp_path / "pairs.csv")) == 1
    link = waiting[0]["link_id"]
    shown = cli.text("identity review")
    for side, known in (("customer_id", "later"), ("same_as", "earlier")):
        assert f"{waiting[0][side]}: {waiting[0][known]['name']}," in shown
    assert cli.json(f"identity accept {link}")["links"][0]["state"] == "accepted"
    assert "store-2 has been merged into web-1" in cli.text("score store-2")
    scored = cli.json("score store-2")
    assert (scored["customer_id"], scored["merged"]) == ("web-1", "store-2")
    assert cli.json("recommend store-2")["customer_id"] == "web-1"
    held = cli.json("identity show store-2")
    assert held["ids"] == ["web-1", "store-1", "store-2"]
    assert {pair["state"] for pair in held["pairs"]} == {"accepted"}
    assert link in [pair["link_id"] for pair in held["pairs"]]
    assert "are two customers" in cli.text(f"identity undo {link}")
    assert cli.json("score store-2")["customer_id"] == "store-2"
    refusal = cli.error(f"identity reject {link}")
    assert "is undone; only one that is proposed can be rejected" in refusal
    for typed in ("", " review", " show ann@x.org", " link --exact"):
        assert "{" not in cli.text(f"identity{typed}")


def test_similarity_bounds_are_reported_as_typed():
    """A threshold of .9999 was shown as 100%."""
    probable = {"accepted": 3, "proposed": 1, "note": ""}
    exact = {"accepted": 0, "proposed": 0, "shared": []}
    data = {"exact": exact, "probable": probable, "both_arms": []}
    result = text("terminal/identity/link.txt.j2", **data, accept=0.9999, review=0.7, seconds=1.0)
    assert "3 links accepted from 99.99%, 1 pair to review from 70%" in result


def test_a_review_above_the_threshold_is_refused(home, cli):
    assert "at most as high" in cli.error("identity link --threshold 0.7 --review 0.9")
