"""What the two neural models share: torch is asked for only to learn, and only where it is installed; they score with numpy."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from retention.errors import BadInput
from retention.progress import Progress
from retention.text import gettext

STEPS = 100  # of gradient descent at least: a tiny shop has only one or two a round
MOST_ROUNDS = 200
SMALL = 1_000_000  # weights


def torch_or_refuse(model: str) -> None:
    """Check that torch can be imported, without importing it.

    Raises
    ------
    BadInput
        Where it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise BadInput(
            gettext(
                "The model {model} needs torch, which is not installed; install the extra "
                "`deep` (`make setup-deep`), or choose another model."
            ).format(model=model)
        )


def descend(
    module: Any,
    loss: Callable[[Any], Any],
    rows: int,
    *,
    size: int,
    rounds: int,
    rate: float,
    seed: int,
    progress: Progress,
) -> None:
    """Adam over shuffled batches of rows.

    Parameters
    ----------
    module : torch.nn.Module
    loss : callable
        Positions of a batch (a tensor) → its loss.
    rows, size, rounds : int
        Rows in all, in a batch, and how often all of them are seen; more often where that is fewer than `STEPS` steps.
    """
    import torch

    batches = -(-rows // size)
    rounds = min(max(rounds, -(-STEPS // batches)), MOST_ROUNDS)
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    shuffled = torch.Generator().manual_seed(seed)
    module.train()
    with _calm(module):
        for number in range(rounds):
            order = torch.randperm(rows, generator=shuffled)
            for start in range(0, rows, size):
                optimizer.zero_grad()
                found = loss(order[start : start + size])
                found.backward()
                optimizer.step()
                progress(number * batches + start // size + 1, rounds * batches, "Learning tastes")


@contextmanager
def _calm(module: Any) -> Iterator[None]:
    """One thread for a small network: on a busy machine threads that wait for each other took seven times as long."""
    import torch

    before = torch.get_num_threads()
    if sum(weights.numel() for weights in module.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def plain(module: Any) -> dict[str, np.ndarray]:
    """The weights of a module as numpy arrays, by name."""
    return {
        name: np.ascontiguousarray(values.detach().numpy())
        for name, values in module.state_dict().items()
    }
