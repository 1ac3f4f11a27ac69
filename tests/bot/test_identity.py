"""Test `retention identity` from end to end."""

import json

import pandas as pd
import pytest

from bot.terminal import run
from retention.templating import text


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    """A shop with customers of two systems."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "home"))
    customers = pd.DataFrame(
        {
            "customer_id": ["web-1", "store-1", "store-2"],
            "email": ["ann@x.org", "Ann@X.org", None],
            "phone": ["+447700900123", None, "+447700900123"],
            "name": ["Ann Smith", "Ann Smith", "Bob Jones"],
        }
    )
    events = pd.DataFrame(
        {
            "customer_id": ["web-1", "store-1", "store-2"],
            "event_type": "purchase",
            "amount": 9.0,
            "occurred_at": pd.to_datetime(["2025-01-01", "2025-01-03", "2025-01-05"], utc=True),
        }
    )
    for table, frame in (("events", events), ("customers", customers)):
        frame.to_parquet(f"{table}.parquet")
        assert run(["import", table, f"{table}.parquet"]) == 0
    reply = capsys.readouterr().out
    assert "1 customer id linked" in reply
    assert "1 pair left to a person" in reply
    return tmp_path / "home"


def _json(capsys, *words: str):
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.nightly
def test_from_link_to_undo(home, capsys, tmp_path):
    assert _json(capsys, "identity")["merged_ids"] == 1
    linked = _json(capsys, "identity", "link", "--threshold", "0.9", "--review", "0.6")
    assert (linked["exact"]["accepted"], linked["accept"]) == (0, 0.9)
    assert "likeness needs 50" in linked["probable"]["note"]
    waiting = _json(capsys, "identity", "review", "--csv", "pairs.csv")["pairs"]
    assert {waiting[0]["earlier"]["name"], waiting[0]["later"]["name"]} == {
        "Ann Smith",
        "Bob Jones",
    }
    assert len(pd.read_csv(tmp_path / "pairs.csv")) == 1
    link = waiting[0]["link_id"]
    assert run(["identity", "review"]) == 0
    shown = capsys.readouterr().out
    for side, known in (("customer_id", "later"), ("same_as", "earlier")):
        assert f"{waiting[0][side]}: {waiting[0][known]['name']}," in shown
    assert _json(capsys, "identity", "accept", link)["links"][0]["state"] == "accepted"
    assert run(["score", "store-2"]) == 0
    assert "store-2 has been merged into web-1" in capsys.readouterr().out
    scored = _json(capsys, "score", "store-2")
    assert (scored["customer_id"], scored["merged"]) == ("web-1", "store-2")
    assert _json(capsys, "recommend", "store-2")["customer_id"] == "web-1"
    held = _json(capsys, "identity", "show", "store-2")
    assert held["ids"] == ["web-1", "store-1", "store-2"]
    assert {pair["state"] for pair in held["pairs"]} == {"accepted"}
    assert link in [pair["link_id"] for pair in held["pairs"]]
    assert run(["identity", "undo", link]) == 0
    assert "are two customers" in capsys.readouterr().out
    assert _json(capsys, "score", "store-2")["customer_id"] == "store-2"
    assert run(["identity", "reject", link]) == 2
    assert "is undone; only one that is proposed can be rejected" in capsys.readouterr().err
    for words in (
        ["identity"],
        ["identity", "review"],
        ["identity", "show", "ann@x.org"],
        ["identity", "link", "--exact"],
    ):
        assert run(words) == 0
        assert "{" not in capsys.readouterr().out


def test_similarity_bounds_are_reported_as_typed():
    """A threshold of .9999 was shown as 100%."""
    probable = {"accepted": 3, "proposed": 1, "note": ""}
    data = {
        "exact": {"accepted": 0, "proposed": 0, "shared": []},
        "probable": probable,
        "both_arms": [],
    }
    result = text("terminal/identity/link.txt.j2", **data, accept=0.9999, review=0.7, seconds=1.0)
    assert "3 links accepted from 99.99%, 1 pair to review from 70%" in result


def test_a_review_above_the_threshold_is_refused(home, capsys):
    capsys.readouterr()
    assert run(["identity", "link", "--threshold", "0.7", "--review", "0.9"]) == 2
    assert "at most as high" in capsys.readouterr().err
