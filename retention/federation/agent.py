"""Serve or join a federation with flwr, in the environment ``.venv-federate``.

    python -m retention.federation.agent serve|join PLAN.json

A process of the desk writes the plan and reads one JSON object a line. The desk's code runs here:
flwr's SuperNode is not used, because it would run whatever code the server sends, beside the rows.
"""

import hashlib
import hmac
import json
import os
import secrets
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # flwr reports its use unless told not to

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

try:  # the environment of its own
    from flwr.client import NumPyClient, start_client
    from flwr.common import FitIns, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server import History, Server, ServerConfig, SimpleClientManager, start_server
except ImportError:
    sys.exit("flwr is missing; run: make setup-federate")

from retention.federation import logistic, masks

MIN_DESKS = 3  # of two, each could subtract its own sums
Plan = dict[str, Any]


def tell(event: str, **values: Any) -> None:
    """Print an event for the process that started this one."""
    print(json.dumps({"event": event, **values}), flush=True)


def proof(secret: str, nonce: str, public: str) -> str:
    """Return what only a desk with the shared secret can compute."""
    return hmac.new(secret.encode(), f"{nonce}:{public}".encode(), hashlib.sha256).hexdigest()


def differences(own: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the features that one side lacks or defines otherwise, sorted."""
    return sorted(name for name in {*own, *other} if own.get(name) != other.get(name))


class Desk(NumPyClient):
    """Answer the server with masked sums of the rows of the plan."""

    def __init__(self, plan: Plan) -> None:
        rows = np.load(plan["rows"], allow_pickle=False)
        self.X, self.y = rows["X"], rows["y"]
        self.plan, self.key, self.attempt = plan, X25519PrivateKey.generate(), 0

    def fit(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        """Answer one step of the protocol."""
        return getattr(self, f"_{config['step']}")(parameters, config)

    def _hello(self, _: list[np.ndarray], config: dict[str, Any]) -> Any:
        public = self.key.public_key().public_bytes_raw().hex()
        answer = {
            "public": public,
            "proof": proof(self.plan["secret"], config["nonce"], public),
            "features": json.dumps(self.plan["features"]),
        }
        return [], int(self.plan.get("size", len(self.y))), answer

    def _sums(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        peers = json.loads(config["peers"])
        own = self.key.public_key().public_bytes_raw().hex()
        is_safe = len(set(peers.values())) >= MIN_DESKS and own in peers.values()
        if not is_safe or config["attempt"] <= self.attempt:
            raise ValueError("unsafe_round")
        self.attempt = config["attempt"]
        vector = logistic.objective(parameters[0], self.X, self.y) * config["share"]
        return [masks.masked(vector, self.key, peers, self.attempt)], len(self.y), {}

    def _refused(self, _: list[np.ndarray], config: dict[str, Any]) -> Any:
        tell("refused", code=config["code"], features=json.loads(config["features"]))
        return [], 0, {}

    def _done(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        tell("done", weights=parameters[0].tolist(), **json.loads(config["report"]))
        return [], 0, {}


class Federation(Server):
    """Lead the desks through the rounds."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(client_manager=SimpleClientManager())
        self.plan, self.attempt = plan, 0
        self.pool = ThreadPoolExecutor(64)

    def fit(self, num_rounds: int, timeout: float | None) -> tuple[History, float]:
        """Train until the weights stay the same."""
        begun = time.monotonic()
        try:
            desks, sizes = self._admit()
            weights = self._train(desks, sizes)
            report = {"desks": len(desks), "rows": sum(sizes[name] for name in desks)}
            self._ask(desks, {"step": "done", "report": json.dumps(report)}, weights)
            tell("done", weights=weights.tolist(), **report)
        except RuntimeError as stop:
            tell("stopped", code=str(stop))
        return History(), time.monotonic() - begun

    def disconnect_all_clients(self, timeout: float | None) -> None:
        """Leave: a thread may still wait for a desk that vanished."""
        super().disconnect_all_clients(timeout=1)
        sys.stdout.flush()
        os._exit(0)

    def _ask(self, desks: Any, config: Any, weights: np.ndarray, own: Any = None) -> Any:
        """Return the answers by name; a desk that fails or is late has none."""
        parameters = ndarrays_to_parameters([weights])
        calls = {
            self.pool.submit(
                proxy.fit, FitIns(parameters, {**config, **(own or {}).get(name, {})}), None, None
            ): name
            for name, proxy in desks.items()
        }
        finished, _ = wait(calls, timeout=self.plan["seconds"])
        return {calls[call]: call.result() for call in finished if call.exception() is None}

    def _admit(self) -> tuple[dict[str, Any], dict[str, int]]:
        manager, expected = self.client_manager(), self.plan["desks"]
        if not manager.wait_for(expected, self.plan["wait"]):
            tell("missing", expected=expected, here=manager.num_available())
        desks, sizes, nonce = dict(manager.all()), {}, secrets.token_hex(16)
        answers = self._ask(desks, {"step": "hello", "nonce": nonce}, np.zeros(1))
        for name, answer in answers.items():
            values = answer.metrics
            own = proof(self.plan["secret"], nonce, str(values["public"]))
            has_secret = hmac.compare_digest(own, str(values["proof"]))
            other = differences(self.plan["features"], json.loads(values["features"]))
            if has_secret and not other and answer.num_examples > 0:
                sizes[name] = answer.num_examples
                self.publics = {**getattr(self, "publics", {}), name: str(values["public"])}
                continue
            code = "size" if has_secret and not other else "features" if has_secret else "secret"
            tell("refused", code=code, features=other if has_secret else [])
            told = json.dumps(other if has_secret else [])
            config = {"step": "refused", "code": code, "features": told}
            self._ask({name: desks[name]}, config, np.zeros(1))
        return {name: desks[name] for name in sizes}, sizes

    def _train(self, desks: dict[str, Any], sizes: dict[str, int]) -> np.ndarray:
        weights = np.zeros(len(self.plan["features"]) + 1)
        for number in range(self.plan["rounds"]):
            vector = self._sum(desks, sizes, weights)
            if not logistic.is_plausible(vector, len(weights), self.plan["largest"]):
                raise RuntimeError("implausible")
            after = logistic.newton_step(weights, vector)
            change, weights = np.abs(after - weights).max(), after
            tell("round", number=number + 1, loss=vector[0], desks=len(desks))
            if change < 1e-9:
                break
        return weights

    def _sum(self, desks: Any, sizes: Any, weights: np.ndarray) -> np.ndarray:
        """Return the mean over the desks; without those that fail, which leave `desks`."""
        while len(desks) >= MIN_DESKS:
            self.attempt += 1
            parts = logistic.shares([sizes[name] for name in desks], self.plan["most"])
            peers = json.dumps({name: self.publics[name] for name in desks})
            config = {"step": "sums", "attempt": self.attempt, "peers": peers}
            own = {name: {"share": part} for name, part in zip(desks, parts, strict=True)}
            answers = self._ask(desks, config, weights, own)
            length = 1 + len(weights) + len(weights) * (len(weights) + 1) // 2
            vectors = {}
            for name, answer in answers.items():
                array = parameters_to_ndarrays(answer.parameters)[0]
                if array.dtype == np.uint64 and array.shape == (length,):
                    vectors[name] = array
            if len(vectors) == len(desks):
                return masks.unmasked(vectors.values())
            for name in set(desks) - set(vectors):
                tell("left", name=name[:8])
                del desks[name]
        raise RuntimeError("too_few_desks")


def main(role: str, plan: Plan) -> None:
    """Serve or join until the training is over."""
    tls = [Path(name).read_bytes() for name in plan.get("certificates", [])]
    if role == "serve":
        certificates = (tls[0], tls[1], tls[2]) if tls else None
        start_server(
            server_address=plan["address"],
            server=Federation(plan),
            config=ServerConfig(num_rounds=1),
            certificates=certificates,
        )
    else:
        _wait_for(plan["address"], plan["wait"])
        start_client(
            server_address=plan["address"],
            client=Desk(plan).to_client(),
            root_certificates=tls[0] if tls else None,
            insecure=not tls,
            max_wait_time=plan["wait"],
        )


def _wait_for(address: str, seconds: float) -> None:
    """Wait until the server listens: flwr's client gives up at the first refusal."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                tell("stopped", code="no_server")
                sys.exit(1)
            time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
