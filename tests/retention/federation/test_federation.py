"""Federations of real processes: a server and three or four desks on one machine."""

import json
import os
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from retention.federation import logistic, masks, noisy_sums
from retention.privacy import descent

PYTHON = Path(os.environ.get("FEDERATE_PYTHON", ".venv-federate/bin/python"))
FEATURES = {"recency_days": "a1", "orders_all": "b2", "gap_mean": "c3"}
SIZES = (2_000, 600, 150, 900)
pytestmark = [
    pytest.mark.federate,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs the environment of make test-federate"),
]


def rows(number, size):
    rng = np.random.default_rng(number)
    X = np.column_stack([np.ones(size), rng.normal(size=(size, len(FEATURES))).clip(-4, 4)])
    chance = 1 / (1 + np.exp(-X @ np.array([-0.5, 1.0, -0.8, 0.3])))
    return X, (rng.random(size) < chance).astype(float)


def central(desks):
    """Return weights of training on all rows in one place."""
    X, y = (np.concatenate(parts) for parts in zip(*desks, strict=True))
    weights = np.zeros(X.shape[1])
    for _ in range(20):
        weights = logistic.newton_step(weights, logistic.objective(weights, X, y))
    return weights


def free_address():
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{port.getsockname()[1]}"


def federate(folder, desks, changes=None, scripts=None, **rules):
    """Run a server and desks; return the events of each, the server's first."""
    address = free_address()
    common = {"address": address, "secret": "s" * 32, "features": FEATURES, "wait": 60}
    server = {"desks": len(desks), "rounds": 20, "seconds": 8, "most": 100.0, "largest": 4, **rules}
    plans = [("serve", {**common, **server})]
    for number, (X, y) in enumerate(desks):
        path = folder / f"{number}.npz"
        np.savez(path, X=X, y=y, customer=np.arange(len(y)))
        plans.append(("join", {**common, "rows": str(path), **(changes or {}).get(number, {})}))
    (folder / "accepted").write_text("\n")
    processes = []
    for number, (role, plan) in enumerate(plans):
        path = folder / f"plan{number}.json"
        path.write_text(json.dumps(plan))
        script = (scripts or {}).get(number - 1)
        program = ["-c", script] if script else ["-m", "retention.federation.agent"]
        command = [PYTHON, *program, role, path]
        processes.append(
            subprocess.Popen(
                command,
                stdin=(folder / "accepted").open(),
                stdout=subprocess.PIPE,
                stderr=(folder / f"log{number}").open("w"),
                env={**os.environ, "PYTHONPATH": "."},
                text=True,
            )
        )
    try:
        first = processes[0].communicate(timeout=150)[0]
        for process in processes[1:]:
            process.wait(timeout=30) if process.args[1] == "-m" else process.kill()
        rest = [process.communicate(timeout=30)[0] for process in processes[1:]]
    finally:
        for process in processes:
            process.kill()
    return [[json.loads(line) for line in text.splitlines()] for text in (first, *rest)]


def test_three_desks_train_the_same_model_as_one_place(tmp_path):
    desks = [rows(number, size) for number, size in enumerate(SIZES[:3])]
    events = federate(tmp_path, desks)
    for told in events:
        assert told[-1]["event"] == "done"
        assert np.abs(np.array(told[-1]["weights"]) - central(desks)).max() < 1e-6


def test_infinite_rows_and_a_false_secret_leave_the_others_alone(tmp_path):
    desks = [rows(number, size) for number, size in enumerate(SIZES)]
    good = desks[:3]
    desks[3][0][5, 1] = np.inf
    stranger = rows(9, 100)
    events = federate(tmp_path, [*desks, stranger], {4: {"secret": "wrong"}})
    assert {"event": "refused", "code": "secret", "features": []} in events[5]
    assert any(told["event"] == "left" for told in events[0])
    assert np.abs(np.array(events[1][-1]["weights"]) - central(good)).max() < 1e-6


def test_a_desk_with_another_definition_is_refused_with_the_names(tmp_path):
    desks = [rows(number, size) for number, size in enumerate(SIZES)]
    other = {3: {"features": {**FEATURES, "gap_mean": "other", "extra": "d4"}}}
    events = federate(tmp_path, desks, other)
    assert events[4] == [
        {"event": "refused", "code": "features", "features": ["extra", "gap_mean"]}
    ]
    assert np.abs(np.array(events[1][-1]["weights"]) - central(desks[:3])).max() < 1e-6


def test_a_false_size_counts_at_most_twice_the_median(tmp_path):
    desks = [rows(number, size) for number, size in enumerate(SIZES)]
    events = federate(tmp_path, desks, {2: {"size": 10**9}}, most=2.0)
    parts = logistic.shares([2_000, 600, 10**9, 900], 2.0)
    assert parts[2] == pytest.approx(2_900 / (2_000 + 600 + 2_900 + 900))
    weights = np.zeros(len(FEATURES) + 1)
    for _ in range(20):
        vectors = [
            part * logistic.objective(weights, *desk)
            for part, desk in zip(parts, desks, strict=True)
        ]
        weights = logistic.newton_step(weights, np.sum(vectors, axis=0))
    assert np.abs(np.array(events[0][-1]["weights"]) - weights).max() < 1e-6


@pytest.mark.parametrize("last_act", ["os._exit(1)", "time.sleep(60)"])
def test_a_desk_that_vanishes_or_hangs_is_left_out(tmp_path, last_act):
    desks = [rows(number, size) for number, size in enumerate(SIZES)]
    script = (
        "import json, os, sys, time; from retention.federation import agent; "
        f"agent.Desk._sums = lambda *_: {last_act}; "
        "agent.main('join', json.load(open(sys.argv[-1])))"
    )
    events = federate(tmp_path, desks, scripts={3: script})
    assert [event["event"] for event in events[4]] == ["terms"]
    left = [event for event in events[0] if event["event"] == "left"]
    assert len(left) == 1
    assert np.abs(np.array(events[1][-1]["weights"]) - central(desks[:3])).max() < 1e-6


def log_loss(weights, X, y):
    return logistic.objective(np.array(weights), X, y)[0]


SPY = (
    "import json, sys; from retention.federation import agent, masks; real = masks.unmasked; "
    "tell = lambda sent: agent.tell('sent', vectors=[one.tolist() for one in sent]); "
    "masks.unmasked = lambda sent: (own := list(sent), tell(own), real(own))[-1]; "
    "agent.main('serve', json.load(open(sys.argv[-1])))"
)


def test_noisy_training_of_many_customers_comes_close_to_the_exact_one(tmp_path):
    desks = [rows(number, 20_000) for number in range(3)]
    events = federate(tmp_path, desks, scripts={-1: SPY}, epsilon=2.0)
    told = events[1][-1]
    assert {**told, "weights": None, "customers": None} == {
        **{"event": "done", "weights": None, "desks": 3, "customers": None},
        **descent.terms(2.0),
    }
    assert told["customers"] == pytest.approx(60_000, abs=400)
    new = rows(9, 20_000)
    best, useless = log_loss(central(desks), *new), log_loss(np.zeros(4), *new)
    assert best < log_loss(told["weights"], *new) < best + 0.05 * (useless - best)

    # The first sums are those at weights of 0. The server sees none of them, nor their total.
    sent = next(event for event in events[0] if event["event"] == "sent")["vectors"]
    exact = [noisy_sums.customer_sum(np.zeros(4), X, y, np.arange(len(y))) for X, y in desks]
    for message in sent:
        assert not np.isin(np.array(message, np.uint64).view(np.int64), exact).any()
    gap = masks.unmasked(np.array(sent, np.uint64)) - np.sum(exact, axis=0)
    assert 1e-3 < np.abs(gap / noisy_sums.UNIT).max() < 150  # its standard deviation is 12
    assert len([event for event in events[0] if event["event"] == "sent"]) == 20


def test_desk_that_vanishes_costs_one_step_of_a_noisy_training(tmp_path):
    desks = [rows(number, 20_000) for number in range(4)]
    script = (
        "import json, os, sys; from retention.federation import agent; real = agent.Desk._sums; "
        "agent.Desk._sums = lambda self, p, c: os._exit(1) if c['attempt'] > 4 else "
        "real(self, p, c); agent.main('join', json.load(open(sys.argv[-1])))"
    )
    events = federate(tmp_path, desks, scripts={3: script}, epsilon=2.0)
    assert [event["desks"] for event in events[0] if event["event"] == "round"] == [
        *(4, 4, 4, 4),
        *(3,) * 16,
    ]
    new = rows(9, 20_000)
    best, useless = log_loss(central(desks[:3]), *new), log_loss(np.zeros(4), *new)
    told = events[1][-1]
    assert told["desks"] == 3
    assert best < log_loss(told["weights"], *new) < best + 0.08 * (useless - best)


def test_desk_gives_no_sum_that_nobody_accepted_or_paid_for(tmp_path):
    X, y = rows(1, 50)
    np.savez(tmp_path / "rows.npz", X=X, y=y, customer=np.arange(50))
    script = f"""
import io, json, sys
import numpy as np
from retention.federation import agent
keys = [agent.X25519PrivateKey.generate().public_key().public_bytes_raw().hex() for _ in "ab"]
def desk():
    made = agent.Desk({{"rows": {str(tmp_path / "rows.npz")!r}, "secret": "s", "features": {{}}}})
    own = made.key.public_key().public_bytes_raw().hex()
    made.peers = json.dumps(dict(zip("abc", [*keys, own])))
    return made
def ask(desk, step, **config):
    try:
        sent, size, _ = desk.fit([np.zeros(4)], {{"step": step, **config}})
        agent.tell("answer", size=size)
    except ValueError as refusal:
        agent.tell("refusal", code=str(refusal))
def terms(desk, told, line):
    sys.stdin = io.StringIO(line)
    ask(desk, "terms", terms=json.dumps(told))
def sums(desk, attempt):
    ask(desk, "sums", attempt=attempt, peers=desk.peers, share=1.0)
private = agent.descent.terms(2.0)
one = desk()
sums(one, 1)
terms(one, {{**private, "steps": 21}}, "\\n")
terms(one, agent.descent.terms(-2.0), "\\n")
terms(one, private, "")
sums(one, 1)
terms(one, private, "\\n")
sums(one, 20)
sums(one, 20)
sums(one, 21)
terms(one, {{}}, "\\n")
"""
    command = [str(PYTHON), "-c", script]
    out = subprocess.run(
        command, capture_output=True, env={**os.environ, "PYTHONPATH": "."}, text=True, check=True
    )
    events = [json.loads(line) for line in out.stdout.splitlines()]
    told = [event.get("code", event["event"]) for event in events if event["event"] != "terms"]
    assert told == [
        *("unsafe_round", "other_terms", "other_terms", "not_accepted", "unsafe_round"),
        *("answer", "answer", "unsafe_round", "spent", "other_terms"),
    ]
    sizes = [event["size"] for event in events if event["event"] == "answer"]
    assert sizes == [1, 0]  # not the number of rows
