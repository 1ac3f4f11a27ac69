"""Mult-DAE (Liang et al. 2018): a denoising autoencoder of histories with a multinomial likelihood; one hidden layer."""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.models.contract import NOTHING, Arrays, Side, checked
from retention.recommend.models.neural import descend, plain, torch_or_refuse
from retention.recommend.models.weighting import unit


class MultDae:
    """Histories of length 1, half of whose entries are dropped, are to give the whole history back."""

    name = "mult_dae"
    looks_at: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, hidden: int = 200, dropout: float = 0.5, rounds: int = 30, rate: float = 1e-3
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.rounds = rounds
        self.rate = rate

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from (customers × items); see `Model`.

        Raises
        ------
        BadInput
            Where torch is not installed.
        """
        torch_or_refuse(self.name)
        import torch

        clean = checked(matrix)
        clean = csr_matrix(clean[np.diff(clean.indptr) > 0])
        items = clean.shape[1]
        torch.manual_seed(seed)
        module = torch.nn.Sequential(
            torch.nn.Dropout(self.dropout),
            torch.nn.Linear(items, self.hidden),
            torch.nn.Tanh(),
            torch.nn.Linear(self.hidden, items),
        )
        given = unit(clean)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            chosen = rows.numpy()
            told = torch.from_numpy(given[chosen].toarray())
            wanted = torch.from_numpy(clean[chosen].toarray())
            return -(torch.log_softmax(module(told), dim=1) * wanted).sum(dim=1).mean()

        descend(
            module,
            loss,
            clean.shape[0],
            size=256,
            rounds=self.rounds,
            rate=self.rate,
            seed=seed,
            progress=progress,
        )
        self._keep(plain(module))
        return self

    def _keep(self, weights: Arrays) -> None:
        self.inward_, self.inward_bias_ = weights["1.weight"], weights["1.bias"]
        self.outward_, self.outward_bias_ = weights["3.weight"], weights["3.bias"]

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """Log-odds up to a constant of each row; 0 for empty histories."""
        hidden = np.tanh(unit(histories) @ self.inward_.T + self.inward_bias_)
        found = hidden @ self.outward_.T + self.outward_bias_
        return np.where(np.diff(histories.indptr)[:, None] > 0, found, 0).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights."""
        return {
            "1.weight": self.inward_,
            "1.bias": self.inward_bias_,
            "3.weight": self.outward_,
            "3.bias": self.outward_bias_,
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls(arrays["1.weight"].shape[0])
        made._keep(arrays)
        return made
