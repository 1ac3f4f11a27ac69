"""Serve or join a federation with flwr, in the environment ``.venv-federate``.

    python -m retention.federation.agent serve|join PLAN.json

A process of the desk writes the plan and reads one JSON object a line. It answers the event
``terms`` with a line: until then no sum leaves. The desk's code runs here: flwr's SuperNode is not
used, because it would run whatever code the server sends, beside the rows.
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
    import opendp as _opendp  # noqa: F401 - noisy_sums needs it
    from flwr.client import NumPyClient, start_client
    from flwr.common import FitIns, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server import History, Server, ServerConfig, SimpleClientManager, start_server
except ImportError:
    sys.exit("flwr or opendp is missing; run: make setup-federate")

from retention.federation import logistic, masks, noisy_sums
from retention.privacy import descent, noise

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
        self.customer = rows["customer"]
        self.plan, self.key, self.attempt = plan, X25519PrivateKey.generate(), 0
        self.terms: Plan | None = None

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
        return [], 0, answer

    def _terms(self, _: list[np.ndarray], config: dict[str, Any]) -> Any:
        """Ask the desk; with noise, the number of rows stays here."""
        terms = json.loads(config["terms"])
        is_known = not terms or terms == descent.terms(terms["epsilon"])
        is_possible = 0 < terms.get("epsilon", 1) <= 10
        if self.terms is not None or not (is_known and is_possible):
            raise ValueError("other_terms")
        tell("terms", **terms)
        if not sys.stdin.readline():
            raise ValueError("not_accepted")
        self.terms = terms
        return [], 1 if terms else int(self.plan.get("size", len(self.y))), {}

    def _sums(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        peers = json.loads(config["peers"])
        own = self.key.public_key().public_bytes_raw().hex()
        is_safe = len(set(peers.values())) >= MIN_DESKS and own in peers.values()
        if not is_safe or self.terms is None or config["attempt"] <= self.attempt:
            raise ValueError("unsafe_round")
        self.attempt = config["attempt"]
        if self.terms:
            if self.attempt > self.terms["steps"]:
                raise ValueError("spent")
            number, size = len(set(peers.values())), self.X.shape[1] + 1
            scale = noisy_sums.share_scale(self.terms["epsilon"], number, size)
            exact = noisy_sums.customer_sum(parameters[0], self.X, self.y, self.customer)
            numbers = noise.noisy_whole(exact, scale)
        else:
            vector = logistic.objective(parameters[0], self.X, self.y) * config["share"]
            numbers = masks.whole(vector)
        return [masks.masked(numbers, self.key, peers, self.attempt)], 0, {}

    def _refused(self, _: list[np.ndarray], config: dict[str, Any]) -> Any:
        tell("refused", code=config["code"], features=json.loads(config["features"]))
        return [], 0, {}

    def _done(self, parameters: list[np.ndarray], config: dict[str, Any]) -> Any:
        report = json.loads(config["report"])
        tell("done", weights=parameters[0].tolist(), **report, **(self.terms or {}))
        return [], 0, {}


class Federation(Server):
    """Lead the desks through the rounds."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(client_manager=SimpleClientManager())
        self.plan, self.attempt, self.size = plan, 0, len(plan["features"]) + 1
        epsilon = plan.get("epsilon")
        self.terms = descent.terms(epsilon) if epsilon else {}
        self.publics: dict[str, str] = {}
        self.pool = ThreadPoolExecutor(64)

    def fit(self, num_rounds: int, timeout: float | None) -> tuple[History, float]:
        """Train until the weights stay the same."""
        begun = time.monotonic()
        try:
            desks, sizes = self._admit()
            train = self._train_with_noise if self.terms else self._train
            weights, people = train(desks, sizes)
            report = {"desks": len(desks), **people}
            self._ask(desks, {"step": "done", "report": json.dumps(report)}, weights)
            tell("done", weights=weights.tolist(), **report, **self.terms)
        except RuntimeError as stop:
            tell("stopped", code=str(stop))
        return History(), time.monotonic() - begun

    def disconnect_all_clients(self, timeout: float | None) -> None:
        """Leave: a thread may still wait for a desk that vanished."""
        super().disconnect_all_clients(timeout=1)
        sys.stdout.flush()
        os._exit(0)

    def _ask(
        self, desks: Any, config: Any, weights: np.ndarray | None = None, own: Any = None
    ) -> Any:
        """Return the answers by name; a desk that fails or is late has none."""
        parameters = ndarrays_to_parameters([] if weights is None else [weights])
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
        for name, answer in self._ask(desks, {"step": "hello", "nonce": nonce}).items():
            values = answer.metrics
            own = proof(self.plan["secret"], nonce, str(values["public"]))
            other = differences(self.plan["features"], json.loads(values["features"]))
            if not hmac.compare_digest(own, str(values["proof"])):
                self._refuse(name, desks[name], "secret", [])
            elif other:
                self._refuse(name, desks[name], "features", other)
            else:
                self.publics[name] = str(values["public"])
        known = {name: desks[name] for name in self.publics}
        terms = json.dumps(self.terms)
        for name, answer in self._ask(known, {"step": "terms", "terms": terms}).items():
            if answer.num_examples > 0:
                sizes[name] = answer.num_examples
            else:
                self._refuse(name, desks[name], "size", [])
        for name in set(known) - set(sizes):
            tell("left", name=name[:8])
        return {name: desks[name] for name in sizes}, sizes

    def _refuse(self, name: str, desk: Any, code: str, features: list[str]) -> None:
        tell("refused", code=code, features=features)
        self._ask({name: desk}, {"step": "refused", "code": code, "features": json.dumps(features)})

    def _train(self, desks: Any, sizes: Any) -> tuple[np.ndarray, dict[str, int]]:
        weights = np.zeros(self.size)
        for number in range(self.plan["rounds"]):
            vector = self._sum(desks, sizes, weights)
            if not logistic.is_plausible(vector, len(weights), self.plan["largest"]):
                raise RuntimeError("implausible")
            after = logistic.newton_step(weights, vector)
            change, weights = np.abs(after - weights).max(), after
            tell("round", number=number + 1, of=self.plan["rounds"], desks=len(desks))
            if change < 1e-9:
                break
        return weights, {"rows": sum(sizes[name] for name in desks)}

    def _train_with_noise(self, desks: Any, _: Any) -> tuple[np.ndarray, dict[str, int]]:
        """Return the weights and about how many customers all desks have.

        A round that a desk left is a step without a gradient: the others' sums are spent.
        """
        counts: list[float] = []

        def gradient(weights: np.ndarray) -> np.ndarray:
            number = len(desks)
            total = self._sum_of_all(desks, weights, self.size + 1)
            tell("round", number=self.attempt, of=self.terms["steps"], desks=len(desks))
            if total is None:
                return np.zeros(self.size)
            share = noisy_sums.share_scale(self.terms["epsilon"], number, len(total))
            mean = noisy_sums.mean_gradient(total, share * number**0.5, counts)
            if mean is None:
                raise RuntimeError("implausible")
            return mean

        weights = descent.descend(self.size, self.terms["steps"], gradient)
        customers = max(0, round(np.mean(counts or [0])))
        return noisy_sums.model_weights(weights), {"customers": customers}

    def _sum(self, desks: Any, sizes: Any, weights: np.ndarray) -> np.ndarray:
        """Return the mean over the desks; without those that fail, which leave `desks`."""
        total = None
        while total is None:
            parts = logistic.shares([sizes[name] for name in desks], self.plan["most"])
            own = {name: {"share": part} for name, part in zip(desks, parts, strict=True)}
            length = 1 + self.size + self.size * (self.size + 1) // 2
            total = self._sum_of_all(desks, weights, length, own)
        return total / masks.UNIT

    def _sum_of_all(
        self, desks: Any, weights: np.ndarray, length: int, own: Any = None
    ) -> np.ndarray | None:
        """Return the whole numbers' sum; none if a desk fails, which leaves `desks`."""
        if len(desks) < MIN_DESKS:
            raise RuntimeError("too_few_desks")
        self.attempt += 1
        peers = json.dumps({name: self.publics[name] for name in desks})
        config = {"step": "sums", "attempt": self.attempt, "peers": peers}
        vectors = {}
        for name, answer in self._ask(desks, config, weights, own).items():
            array = parameters_to_ndarrays(answer.parameters)[0]
            if array.dtype == np.uint64 and array.shape == (length,):
                vectors[name] = array
        if len(vectors) == len(desks):
            return masks.unmasked(vectors.values())
        for name in set(desks) - set(vectors):
            tell("left", name=name[:8])
            del desks[name]
        return None


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
