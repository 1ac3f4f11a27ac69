"""Small neural nets beside the trees: they see smooth interactions where trees see steps, and their mean is better than either.

Learned by scikit-learn, kept and asked as plain arrays.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

Net = tuple[np.ndarray, ...]  # weights and biases in turn, layer by layer

SEEDS = 2
HIDDEN = (64, 32)
STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 1_500, 4, 40
BATCHES = (64, 1_024)


def fit(
    view: np.ndarray, bought: np.ndarray, weight: np.ndarray, *, seed: int = 0, count: int = SEEDS
) -> tuple[Net, ...]:
    """Learn the log-odds of being bought.

    Parameters
    ----------
    view : ndarray of float32 (rows × features)
        Standardised, nothing missing.
    bought : ndarray of bool (rows,)
    weight : ndarray (rows,)
        Mean 1.
    seed, count : int
        How many nets, from which seed on.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    batch = int(np.clip(len(view) // 300, *BATCHES))
    epochs = int(np.clip(STEPS * batch // max(len(view), 1), FEWEST_EPOCHS, MOST_EPOCHS))
    made = []
    for number in range(count):
        net = MLPClassifier(
            HIDDEN,
            alpha=1e-4,
            learning_rate_init=2e-3,
            batch_size=min(batch, len(view)),
            max_iter=epochs,
            random_state=seed + number,
        )
        with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
            warnings.simplefilter("ignore", ConvergenceWarning)  # a few rounds are what is wanted
            net.fit(view, bought, sample_weight=weight)
        made.append(
            tuple(
                np.asarray(one, dtype=np.float32)
                for layer in zip(net.coefs_, net.intercepts_, strict=True)
                for one in layer
            )
        )
    return tuple(made)


def scores(nets: Sequence[Net], view: np.ndarray) -> np.ndarray:
    """Mean log-odds (rows,)."""
    return np.mean([_forward(net, view) for net in nets], axis=0)


def _forward(net: Net, view: np.ndarray) -> np.ndarray:
    layer = view
    for weights, biases in zip(net[:-2:2], net[1:-2:2], strict=True):
        layer = np.maximum(layer @ weights + biases, 0)
    return (layer @ net[-2] + net[-1]).ravel()


def arrays(nets: Sequence[Net]) -> dict[str, np.ndarray]:
    """For the artefact: ``net_0_0``, ``net_0_1``, …"""
    return {
        f"net_{number}_{at}": part for number, net in enumerate(nets) for at, part in enumerate(net)
    }


def restored(arrays: Mapping[str, np.ndarray]) -> tuple[Net, ...]:
    """The nets of these arrays."""
    numbers = sorted({int(name.split("_")[1]) for name in arrays if name.startswith("net_")})
    return tuple(
        tuple(
            arrays[f"net_{number}_{at}"]
            for at in range(sum(name.startswith(f"net_{number}_") for name in arrays))
        )
        for number in numbers
    )
