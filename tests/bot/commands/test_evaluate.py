"""Test `retention evaluate uplift`: its JSON output and its error messages."""

import json

import pandas as pd
import pytest

from bot.terminal import run, terminal_runner
from retention.uplift import evaluation
from retention.uplift.uplift_metrics import METRICS
from tests.retention.uplift.hillstrom import ARMS, against

GOOD = ("--treatment", "treated", "--outcome", "visit")
SEGMENT = ("--treatment", "segment", "--outcome", "visit")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Run one repeat of the folds and half the bootstrap draws, without a word of progress."""
    monkeypatch.setattr(evaluation, "REPEATS", 1)
    monkeypatch.setattr(evaluation, "REPLICATES", 100)
    monkeypatch.setattr(terminal_runner, "LINE_EVERY", 3600)  # no progress on a slow machine


@pytest.fixture
def terminal(home, tmp_path, capsys):
    """Run ``retention evaluate uplift`` on a table; return exit status, output, error output."""

    def typed(table: pd.DataFrame, *words: str, file: str = "data.csv") -> tuple[int, str, str]:
        path = tmp_path / file
        table.to_parquet(path) if file.endswith("parquet") else table.to_csv(path, index=False)
        status = run(["evaluate", "uplift", "--data", str(path), *words])
        return status, *capsys.readouterr()

    return typed


def test_uplift_evaluation_prints_the_documented_json(terminal):
    table, _ = against(ARMS[1], customers=900)
    arguments = [*GOOD, "--features", "recency", "womens", "zip_code,newbie"]
    status, out, error = terminal(table, *arguments, "--json", file="data.parquet")
    assert (status, error) == (0, "")
    printed_json = json.loads(out)
    documented = {"customers", "ate", "metrics", "intervals", "baselines", "model", "seconds"}
    assert set(printed_json) >= documented
    assert set(printed_json["metrics"]) == set(METRICS) <= set(printed_json["intervals"])
    assert set(printed_json["baselines"]) >= {"random", "risk"}
    assert printed_json["features"] == ["recency", "womens", "zip_code", "newbie"]


@pytest.mark.nightly_after(6)
@pytest.mark.parametrize(
    ("words", "change", "sentence"),
    [
        (("--treatment", "treted", "--outcome", "visit"), {}, "did you mean 'treated'?"),
        (("--treatment", "treated", "--outcome", "bought"), {}, "the data has no column 'bought'"),
        (("--treatment", "visit", "--outcome", "visit"), {}, "name two columns"),
        (SEGMENT, {}, "say with --control which of them was held out"),
        ((*SEGMENT, "--control", "Nobody"), {}, "has no value 'Nobody'"),
        (("--treatment", "treated", "--outcome", "spend"), {"spend": 2.5}, "has to be 0 or 1"),
        ((*GOOD, "--features", "visit"), {}, "is the treatment or the outcome itself"),
        (GOOD, {"treated": 1}, "nobody is control"),
        (GOOD, {"treated": 2}, "say with --control"),
        (GOOD, {"visit": None}, "is empty in 300 of 300 rows"),
        (GOOD, {"visit": 0}, "have the outcome; uplift needs at least 5"),
        ((*GOOD, "--features", "nothing"), {"nothing": 1}, "No column is left"),
        ((*GOOD, "recency"), {}, "stands alone"),
    ],
)
def test_bad_uplift_data_gives_one_sentence(terminal, words, change, sentence):
    table, _ = against(None, customers=300)
    status, out, error = terminal(table.assign(**change), *words, "--json")
    assert (status, out) == (2, "")
    assert sentence in error
    assert len(error.strip().splitlines()) == 1


def test_unreadable_uplift_file_gives_one_sentence(terminal, tmp_path, capsys):
    assert run(["evaluate", "uplift", "--data", str(tmp_path / "no.csv"), *GOOD]) == 2
    assert "there is no file" in capsys.readouterr().err
    (tmp_path / "bad.parquet").write_text("this is no parquet file")
    assert run(["evaluate", "uplift", "--data", str(tmp_path / "bad.parquet"), *GOOD]) == 2
    assert "cannot be read" in capsys.readouterr().err
    for written in ("treated,visit,recency\n", "treated,visit,2024\n", "", "\n"):
        (tmp_path / "header.csv").write_text(written)
        assert run(["evaluate", "uplift", "--data", str(tmp_path / "header.csv"), *GOOD]) == 2
        assert "header.csv has no rows" in capsys.readouterr().err
