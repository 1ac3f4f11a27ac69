"""SASRec (Kang and McAuley 2018): what comes next after a sequence of purchases, by self-attention.

Small: the last 50 purchases, 64 dimensions, two blocks of one head. Learned with torch against shared random negatives
(a sampled softmax instead of the paper's single negative), scored with numpy.
"""

from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import softmax

from retention.progress import Progress, silent
from retention.recommend.models.contract import NOTHING, Arrays, Days, Side, checked
from retention.recommend.models.neural import descend, plain, torch_or_refuse
from retention.recommend.models.repeat import undated

EPSILON = 1e-5  # as torch's LayerNorm


class SasRec:
    """See the module."""

    name = "sasrec"
    looks_at: ClassVar[tuple[str, ...]] = ("days",)

    def __init__(
        self,
        size: int = 64,
        length: int = 50,
        blocks: int = 2,
        rounds: int = 20,
        rate: float = 5e-3,
        negatives: int = 128,
        dropout: float = 0.5,
    ) -> None:
        self.size, self.length, self.blocks = size, length, blocks
        self.rounds, self.rate, self.negatives, self.dropout = rounds, rate, negatives, dropout

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from days of purchase, in their order; see `Model`.

        Raises
        ------
        BadInput
            Where torch is not installed.
        """
        torch_or_refuse(self.name)
        import torch

        clean = checked(matrix)
        items = clean.shape[1]
        days, length = side.days if side.days is not None else undated(clean), self.length
        sequences = sequenced(days, clean.shape[0], length + 1, items)
        known = (sequences < items).sum(axis=1)
        sequences = sequences[known > 1]
        if len(sequences):  # a shop of short histories needs no long ones
            length = min(length, max(int(known.max()) - 1, 1))
            sequences = np.ascontiguousarray(sequences[:, -length - 1 :])
        torch.manual_seed(seed)
        module = _network(items, self.size, length, self.blocks, self.dropout)
        drawn = torch.Generator().manual_seed(seed)
        whole = torch.from_numpy(sequences)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            given, wanted = whole[rows, :-1], whole[rows, 1:]
            negatives = torch.randint(items, (self.negatives,), generator=drawn)
            return _loss(module, given, wanted, negatives, items)

        if len(sequences):
            descend(
                module,
                loss,
                len(sequences),
                size=128,
                rounds=self.rounds,
                rate=self.rate,
                seed=seed,
                progress=progress,
            )
        else:
            progress(1, 1, "Learning tastes")
        self.weights_ = plain(module)
        return self

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """What follows each row's last purchases: the last hidden state times the items' vectors; 0 without any."""
        days = side.days if side.days is not None else undated(histories)
        items, length = (
            self.weights_["vectors.weight"].shape[0] - 1,
            self.weights_["places.weight"].shape[0],
        )
        sequences = sequenced(days, histories.shape[0], length, items)
        found = self.hidden(sequences)[:, -1] @ self.weights_["vectors.weight"][:items].T
        return np.where(sequences[:, -1:] < items, found, 0).astype(np.float32)

    def hidden(self, sequences: np.ndarray) -> np.ndarray:
        """(rows × length × size): the network, as torch computes it, without torch."""
        held = self.weights_
        items = held["vectors.weight"].shape[0] - 1
        padded = sequences == items
        x = held["vectors.weight"][sequences] * np.sqrt(self.size) + held["places.weight"]
        x[padded] = 0
        square = (sequences.shape[1], sequences.shape[1])
        barred = np.triu(np.full(square, -np.inf, np.float32), 1) + np.where(
            padded[:, None, :], np.float32(-1e9), np.float32(0)
        )
        for number in range(self.blocks):
            block = {
                name.split(".", 2)[2]: values
                for name, values in held.items()
                if name.startswith(f"blocks.{number}.")
            }
            asked = _normed(x, block["before.weight"], block["before.bias"])
            query = asked @ block["query.weight"].T
            key, value = x @ block["key.weight"].T, x @ block["value.weight"].T
            weight = softmax(query @ key.transpose(0, 2, 1) / np.sqrt(self.size) + barred, axis=-1)
            x = asked + weight @ value
            x = _normed(x, block["after.weight"], block["after.bias"])
            inner = np.maximum(x @ block["one.weight"].T + block["one.bias"], 0)
            x = x + inner @ block["two.weight"].T + block["two.bias"]
            x[padded] = 0
        return _normed(x, held["last.weight"], held["last.bias"])

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights."""
        return {**self.weights_, "blocks": np.array(self.blocks)}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        length, size = arrays["places.weight"].shape
        made = cls(size, length, int(arrays["blocks"]))
        made.weights_ = {name: values for name, values in arrays.items() if name != "blocks"}
        return made


def sequenced(days: Days, rows: int, length: int, padding: int) -> np.ndarray:
    """(rows × length) the last purchases of each row, the newest at the end; shorter ones are padded at the front."""
    order = np.lexsort((days.column, -days.age, days.row))
    row, column = days.row[order], days.column[order]
    end = np.searchsorted(row, np.arange(rows), side="right")
    place = length - (end[row] - np.arange(len(row)))
    made = np.full((rows, length), padding, dtype=np.int64)
    kept = place >= 0
    made[row[kept], place[kept]] = column[kept]
    return made


def _normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * weight + bias


def _network(items: int, size: int, length: int, blocks: int, dropout: float) -> Any:
    import torch

    def block() -> Any:
        return torch.nn.ModuleDict(
            {
                "before": torch.nn.LayerNorm(size),
                **{
                    name: torch.nn.Linear(size, size, bias=False)
                    for name in ("query", "key", "value")
                },
                "after": torch.nn.LayerNorm(size),
                "one": torch.nn.Linear(size, size),
                "two": torch.nn.Linear(size, size),
            }
        )

    module = torch.nn.ModuleDict(
        {
            "vectors": torch.nn.Embedding(items + 1, size, padding_idx=items),
            "places": torch.nn.Embedding(length, size),
            "blocks": torch.nn.ModuleList(block() for _ in range(blocks)),
            "last": torch.nn.LayerNorm(size),
            "drop": torch.nn.Dropout(dropout),
        }
    )
    for name, values in module.named_parameters():
        if values.dim() > 1 and not name.startswith("blocks"):
            torch.nn.init.normal_(values, std=0.02)
    return module


def _forward(module: Any, sequences: Any, items: int) -> Any:
    import torch

    size, length = module["vectors"].embedding_dim, sequences.shape[1]
    padded = (sequences == items)[..., None]
    x = module["drop"](
        module["vectors"](sequences) * size**0.5 + module["places"].weight
    ).masked_fill(padded, 0)
    barred = torch.triu(torch.full((length, length), float("-inf")), 1) + torch.where(
        padded.transpose(1, 2), torch.tensor(-1e9), torch.tensor(0.0)
    )
    for block in module["blocks"]:
        asked = block["before"](x)
        weight = block["query"](asked) @ block["key"](x).transpose(1, 2) / size**0.5 + barred
        x = asked + module["drop"](torch.softmax(weight, dim=-1) @ block["value"](x))
        x = block["after"](x)
        x = (x + module["drop"](block["two"](torch.relu(block["one"](x))))).masked_fill(padded, 0)
    return module["last"](x)


def _loss(module: Any, given: Any, wanted: Any, negatives: Any, items: int) -> Any:
    """Sampled softmax: the next purchase against negatives that the whole batch shares."""
    import torch

    hidden = _forward(module, given, items)
    real = wanted < items
    right = (hidden * module["vectors"](wanted)).sum(dim=-1, keepdim=True)
    wrong = hidden @ module["vectors"](negatives).T
    wrong = wrong.masked_fill(negatives == wanted[..., None], float("-inf"))
    logits = torch.cat([right, wrong], dim=-1)[real]
    return -torch.log_softmax(logits, dim=-1)[:, 0].mean()
