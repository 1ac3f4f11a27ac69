"""Run the agent of flwr in its own environment and read what it tells."""

import json
import logging
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from retention.errors import BadInput, Refused
from retention.federation.terms import FEATURES, LARGEST
from retention.progress import Progress, silent
from retention.text import gettext

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-federate" / "bin" / "python"
ROUNDS, ROUND_SECONDS, MIN_SECRET = 25, 60, 16
MOST_SHARE = 2.0  # of one desk, in medians of all desks' rows
Accept = Callable[[dict[str, Any]], None]
_LOCAL = ("127.0.0.1", "localhost")


def shared_plan(
    address: str, secret: Path, certificates: list[Path], features: dict[str, str], wait: float
) -> dict[str, Any]:
    """Check what both sides need, and return it as the agent reads it.

    Raises `BadInput`: without the environment, a port, a long secret, or certificates where the
    address is not of this machine.
    """
    if not PYTHON.exists():
        text = gettext("Training with other desks needs an environment of its own; run: {command}")
        raise BadInput(text.format(command="make setup-federate"))
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        text = gettext("{address!r} is no address; write it like shop.example:9092.")
        raise BadInput(text.format(address=address), field="address")
    if host not in _LOCAL and not certificates:
        text = gettext(
            "{address} is not on this machine, so the connection needs certificates; name them."
        )
        raise BadInput(text.format(address=address), field="certificate")
    for path in (secret, *certificates):
        if not path.is_file():
            raise BadInput(gettext("There is no file {path!r}.").format(path=str(path)))
    word = secret.read_text(encoding="utf-8").strip()
    if len(word) < MIN_SECRET:
        text = gettext("The secret in {path!r} is shorter than {length} characters.")
        raise BadInput(text.format(path=str(secret), length=MIN_SECRET), field="secret")
    paths = [str(path.resolve()) for path in certificates]
    plan = {"address": address, "secret": word, "features": features, "wait": wait}
    return {**plan, "certificates": paths}


def serve(
    plan: dict[str, Any], desks: int, epsilon: float | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Lead the training of so many desks; return the agent's last event and who left.

    `epsilon`: the desks add noise for this privacy loss. Without it the model is exact.
    """
    rules = {"desks": desks, "rounds": ROUNDS, "seconds": ROUND_SECONDS, "epsilon": epsilon}
    return _run("serve", {**plan, **rules, "most": MOST_SHARE, "largest": LARGEST}, progress)


def join(
    plan: dict[str, Any], rows: dict[str, np.ndarray], accept: Accept, progress: Progress = silent
) -> dict[str, Any]:
    """Train with the other desks; return the weights, and how many desks and rows there were.

    `rows`: columns ``X``, labels ``y`` and the number of each row's ``customer``.
    `accept`: raises to refuse the server's terms, before any sum leaves. Without noise they are
    empty, else they have ``epsilon``, ``delta`` and ``steps``.
    """
    return _run("join", plan, progress, rows, accept)


def _run(
    role: str,
    plan: dict[str, Any],
    progress: Progress,
    rows: dict[str, np.ndarray] | None = None,
    accept: Accept = lambda terms: None,
) -> dict[str, Any]:
    with TemporaryDirectory() as name:  # mode 0700: the secret and rows without ids
        folder = Path(name)
        if rows is not None:
            np.savez(folder / "rows.npz", **rows)  # type: ignore[arg-type]
            plan = {**plan, "rows": str(folder / "rows.npz")}
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        command = [str(PYTHON), "-m", "retention.federation.agent", role, str(folder / "plan.json")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (
            (folder / "log").open("w+", encoding="utf-8") as errors,
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            ) as agent,
        ):
            progress(0, 1, gettext("Waiting for the other desks"))
            try:
                result = _read(agent, progress, accept)
            finally:
                agent.terminate()
            if result is None:
                errors.seek(0)
                log.warning("The agent ended early: %s", errors.read()[-2000:])
                text = gettext(
                    "The training ended before there was a model: the server stopped, or too few "
                    "desks were left."
                )
                raise Refused(text)
    return result


def _read(
    agent: "subprocess.Popen[str]", progress: Progress, accept: Accept
) -> dict[str, Any] | None:
    left, refused = 0, []
    for line in agent.stdout or ():
        event = json.loads(line)
        kind = event["event"]
        if kind == "terms":
            accept(event)
            if "epsilon" in event:
                what = gettext("The desks add noise: ε = {epsilon:g}, δ = {delta:g}, {steps} steps")
                progress(0, 1, what.format(**event))
            with suppress(BrokenPipeError):  # it ended: no event follows
                print(file=agent.stdin, flush=True)
        elif kind == "round":
            what = gettext("Round {number}, {desks} desks").format(
                number=event["number"], desks=event["desks"]
            )
            progress(event["number"], event["of"], what)
        elif kind == "left":
            left += 1
        elif kind == "refused" and "join" in agent.args:  # type: ignore[operator]
            raise BadInput(_why_refused(event))
        elif kind == "refused":
            refused.append(_why_refused(event))
        elif kind == "stopped":
            raise Refused(" ".join([*dict.fromkeys(refused), _why_stopped(event["code"])]))
        elif kind == "done":
            return {**event, "left": left, "refused": refused}
    return None


def _why_refused(event: dict[str, Any]) -> str:
    if len(event["features"]) == len(FEATURES):  # the days of churn are part of each definition
        return gettext(
            "A desk was refused: for it and the server, churn is not the same; agree on the days."
        )
    if event["code"] == "features":
        text = gettext(
            "A desk was refused: it and the server define these features otherwise: {features}."
        )
        return text.format(features=", ".join(event["features"]))
    if event["code"] == "secret":
        return gettext("A desk was refused: its secret is not the server's.")
    return gettext("A desk was refused: it has no rows.")


def _why_stopped(code: str) -> str:
    if code == "no_server":
        return gettext("Nothing answers at that address; check it, and that the server runs.")
    if code == "implausible":
        return gettext(
            "The desks' sum was impossible, so the training stopped: a desk sends false values."
        )
    return gettext("Fewer than three desks were left, so the training stopped.")
