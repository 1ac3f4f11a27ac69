"""`retention federate`: three shops' desks and a server, each a process of its own."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from retention.errors import Refused
from retention.federation import process
from retention.federation.process import PYTHON
from retention.federation.terms import FEATURES
from retention.privacy import ledger
from tests import readonly
from tests.world import read

SECRET = "one-word-for-all-desks"
needs_flwr = [
    pytest.mark.federate,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs the environment of make test-federate"),
]


def free_port():
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return port.getsockname()[1]


def started(shop, *words):
    environment = {
        **os.environ,
        "RETENTION_HOME": str(shop.settings.home),
        "RETENTION_NOW": shop.end.isoformat(),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "bot.terminal", "federate", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


@pytest.fixture
def word(tmp_path):
    path = tmp_path / "word"
    path.write_text(SECRET)
    return str(path)


@pytest.mark.parametrize(
    ("noise", "note"),
    [
        pytest.param((), "3 desks, ", marks=needs_flwr),
        pytest.param(("--epsilon", "8"), "for each customer: ε = 8, δ = 1e-06", marks=needs_flwr),
    ],
)
def test_three_shops_store_the_same_challenger_that_the_gate_judged(
    champion_shop, tmp_path, word, noise, note
):
    shops = [readonly.copy_of(champion_shop, tmp_path / str(number)) for number in range(3)]
    address = f"127.0.0.1:{free_port()}"
    server = started(shops[0], "serve", address, "--secret", word, *noise)
    desks = [started(shop, "join", address, "--secret", word, *noise) for shop in shops]
    try:
        ended = [each.communicate(timeout=250) for each in (server, *desks)]
    finally:
        for each in (server, *desks):
            each.kill()
    outputs = [json.loads(out) if out else err for out, err in ended]
    assert outputs[0]["desks"] == 3, outputs
    for output, shop in zip(outputs[1:], shops, strict=True):
        (model,) = output["models"]
        assert model["estimator"] == "federated", outputs
        assert model["cutoff"] < shop.end.isoformat()
        assert model["metrics"]["log_loss"] > 0
        assert note in model["rung"]
        releases = read(shop.database, ledger.summary)["releases"]
        assert [release["epsilon"] for release in releases] == ([8.0] if noise else [])
        shop.database.dispose()


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ({"event": "refused", "code": "features", "features": ["gap_max"]}, "otherwise: gap_max."),
        ({"event": "refused", "code": "features", "features": FEATURES}, "churn is not the same"),
        ({"event": "refused", "code": "secret", "features": []}, "its secret is not"),
        ({"event": "stopped", "code": "implausible"}, "sends false values"),
        ({"event": "stopped", "code": "too_few_desks"}, "Fewer than three desks"),
        ({"event": "round", "number": 1, "of": 25, "desks": 3}, "ended before there was a model"),
    ],
)
def test_an_end_without_a_model_is_one_sentence(tmp_path, monkeypatch, event, sentence):
    agent = tmp_path / "agent"
    agent.write_text(f"#!/bin/sh\necho '{json.dumps(event)}'\n")
    agent.chmod(0o700)
    monkeypatch.setattr(process, "PYTHON", agent)
    with pytest.raises(Refused) as refusal:
        process.join({"secret": SECRET}, {"y": np.zeros(2)}, lambda terms: None)
    assert sentence in str(refusal.value)


def test_refusals_are_one_sentence(shop_home, cli, tmp_path, word, monkeypatch):
    place = "retention.federation.process.PYTHON"
    monkeypatch.setattr(place, tmp_path / "none")
    typed = f"federate join 127.0.0.1:9092 --secret {word}"
    assert "run: make setup-federate" in cli.error(typed)
    monkeypatch.setattr(place, tmp_path)
    assert "needs certificates" in cli.error(f"federate join shop.example:9092 --secret {word}")
    assert "write it like" in cli.error(f"federate serve 9092 --secret {word}")
    assert "There is no file" in cli.error("federate join 127.0.0.1:9092 --secret none")
    (tmp_path / "short").write_text("short")
    short = cli.error(f"federate join 127.0.0.1:9092 --secret {tmp_path / 'short'}")
    assert "shorter than 16" in short
