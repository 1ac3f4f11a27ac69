"""Train neural models with torch, score with numpy.

The models are Mult-DAE and SASRec.
"""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import softmax

from retention.errors import BadInput
from retention.progress import Progress
from retention.recommend.matrices import drop_prefix
from retention.recommend.models.base import Arrays, Model, PurchaseDays, SideInformation
from retention.recommend.models.neighbours import normalise_rows
from retention.recommend.models.repeat import purchase_days
from retention.text import gettext

MIN_STEPS = 100  # gradient steps; a tiny shop has only one or two per epoch
MAX_EPOCHS = 200
SMALL_NETWORK = 1_000_000  # weights


def require_torch(model: str) -> None:
    """Check that torch is installed. torch is not imported."""
    if importlib.util.find_spec("torch") is None:
        text = gettext(
            "The model {model} needs torch, which is not installed; install the extra "
            "`deep` (`make setup-deep`), or choose another model."
        )
        raise BadInput(text.format(model=model))


class DeepModel(Model):
    """Train a module with Adam on batches of rows.

    `epochs`: raised until training has `MIN_STEPS` steps, but not above `MAX_EPOCHS`.
    """

    batch: int
    epochs: int
    learning_rate: float

    def _train(
        self, module: Any, loss: Callable[[Any], Any], rows: int, seed: int, progress: Progress
    ) -> None:
        import torch

        batches = -(-rows // self.batch)
        epochs = min(max(self.epochs, -(-MIN_STEPS // batches)), MAX_EPOCHS)
        optimizer = torch.optim.Adam(module.parameters(), lr=self.learning_rate)
        shuffled = torch.Generator().manual_seed(seed)
        steps, what = 0, gettext("Learning tastes")
        module.train()
        with _limit_threads(module):
            for _ in range(epochs):
                for some in torch.randperm(rows, generator=shuffled).split(self.batch):
                    optimizer.zero_grad()
                    loss(some).backward()
                    optimizer.step()
                    steps += 1
                    progress(steps, epochs * batches, what)


@contextmanager
def _limit_threads(module: Any) -> Iterator[None]:
    """Use one thread for a small network.

    On a busy machine, threads that wait for each other took seven times as long.
    """
    import torch

    before = torch.get_num_threads()
    if sum(weights.numel() for weights in module.parameters()) < SMALL_NETWORK:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def weights_of(module: Any) -> dict[str, np.ndarray]:
    """Return a module's weights by name."""
    return {
        name: np.ascontiguousarray(values.detach().numpy())
        for name, values in module.state_dict().items()
    }


class MultDae(DeepModel):
    """Train a denoising autoencoder (Mult-DAE).

    It has a multinomial likelihood (Liang et al. 2018). The input is a history of length 1 with
    half of its entries dropped; the target is the whole history. The network has one hidden layer.
    """

    name = "mult_dae"
    batch = 256
    stored: ClassVar = {
        "1.weight": "inward_",
        "1.bias": "inward_bias_",
        "3.weight": "outward_",
        "3.bias": "outward_bias_",
    }

    def __init__(
        self, hidden: int = 200, dropout: float = 0.5, epochs: int = 30, learning_rate: float = 1e-3
    ) -> None:
        self.hidden, self.dropout = hidden, dropout
        self.epochs, self.learning_rate = epochs, learning_rate

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        require_torch(self.name)
        import torch

        clean = csr_matrix(clean[np.diff(clean.indptr) > 0])
        items = clean.shape[1]
        torch.manual_seed(seed)
        module = torch.nn.Sequential(
            torch.nn.Dropout(self.dropout),
            torch.nn.Linear(items, self.hidden),
            torch.nn.Tanh(),
            torch.nn.Linear(self.hidden, items),
        )
        inputs = normalise_rows(clean)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            positions = rows.numpy()
            batch = torch.from_numpy(inputs[positions].toarray())
            target = torch.from_numpy(clean[positions].toarray())
            return -(torch.log_softmax(module(batch), dim=1) * target).sum(dim=1).mean()

        self._train(module, loss, clean.shape[0], seed, progress)
        weights = weights_of(module)
        self.inward_, self.inward_bias_ = weights["1.weight"], weights["1.bias"]
        self.outward_, self.outward_bias_ = weights["3.weight"], weights["3.bias"]

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Compute log-odds up to a constant. Empty histories get 0."""
        hidden = np.tanh(normalise_rows(histories) @ self.inward_.T + self.inward_bias_)
        scores = hidden @ self.outward_.T + self.outward_bias_
        return np.where(np.diff(histories.indptr)[:, None] > 0, scores, 0).astype(np.float32)


EPSILON = 1e-5  # default of torch's LayerNorm


class SasRec(DeepModel):
    """Predict the next purchase by self-attention.

    The model is SASRec (Kang and McAuley 2018). The network is small: the last 50 purchases, 64
    dimensions, two blocks of one head. It is trained against shared random negatives (a sampled
    softmax instead of the paper's single negative).
    """

    name = "sasrec"
    batch = 128
    uses = ("days",)

    def __init__(
        self,
        size: int = 64,
        length: int = 50,
        blocks: int = 2,
        epochs: int = 20,
        learning_rate: float = 5e-3,
        negatives: int = 128,
        dropout: float = 0.5,
    ) -> None:
        self.size, self.length, self.blocks = size, length, blocks
        self.epochs, self.learning_rate = epochs, learning_rate
        self.negatives, self.dropout = negatives, dropout

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        require_torch(self.name)
        import torch

        items, length = clean.shape[1], self.length
        days = purchase_days(side, clean)
        sequences = purchase_sequences(days, clean.shape[0], length + 1, items)
        lengths = (sequences < items).sum(axis=1)
        sequences = sequences[lengths > 1]
        if len(sequences):  # short histories need no longer sequences
            length = min(length, max(int(lengths.max()) - 1, 1))
            sequences = np.ascontiguousarray(sequences[:, -length - 1 :])
        torch.manual_seed(seed)
        module = _network(items, self.size, length, self.blocks, self.dropout)
        sampler = torch.Generator().manual_seed(seed)
        tensor = torch.from_numpy(sequences)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            inputs, targets = tensor[rows, :-1], tensor[rows, 1:]
            negatives = torch.randint(items, (self.negatives,), generator=sampler)
            return _loss(module, inputs, targets, negatives, items)

        if len(sequences):
            self._train(module, loss, len(sequences), seed, progress)
        else:
            progress(1, 1, gettext("Learning tastes"))
        self.weights_ = weights_of(module)

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Score the item after each row's purchases.

        The score is the last hidden state times the item vectors; 0 without purchases.
        """
        vectors, length = self.weights_["vectors.weight"], len(self.weights_["places.weight"])
        items, days = len(vectors) - 1, purchase_days(side, histories)
        sequences = purchase_sequences(days, histories.shape[0], length, items)
        scores = self.hidden(sequences)[:, -1] @ vectors[:items].T
        return np.where(sequences[:, -1:] < items, scores, 0).astype(np.float32)

    def hidden(self, sequences: np.ndarray) -> np.ndarray:
        """Compute hidden states as torch does.

        The result is (rows × length × size); torch is not needed.
        """
        weights = self.weights_
        items = weights["vectors.weight"].shape[0] - 1
        padded = sequences == items
        x = weights["vectors.weight"][sequences] * np.sqrt(self.size) + weights["places.weight"]
        x[padded] = 0
        square = (sequences.shape[1], sequences.shape[1])
        hides_padding = np.where(padded[:, None, :], np.float32(-1e9), np.float32(0))
        mask = np.triu(np.full(square, -np.inf, np.float32), 1) + hides_padding
        for number in range(self.blocks):
            block = drop_prefix(weights, f"blocks.{number}.")
            normed = _normed(x, block["before.weight"], block["before.bias"])
            query = normed @ block["query.weight"].T
            key, value = x @ block["key.weight"].T, x @ block["value.weight"].T
            attention = softmax(query @ key.transpose(0, 2, 1) / np.sqrt(self.size) + mask, axis=-1)
            x = normed + attention @ value
            x = _normed(x, block["after.weight"], block["after.bias"])
            inner = np.maximum(x @ block["one.weight"].T + block["one.bias"], 0)
            x = x + inner @ block["two.weight"].T + block["two.bias"]
            x[padded] = 0
        return _normed(x, weights["last.weight"], weights["last.bias"])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return {**self.weights_, "blocks": np.array(self.blocks)}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        length, size = arrays["places.weight"].shape
        model = cls(size, length, int(arrays["blocks"]))
        model.weights_ = {name: values for name, values in arrays.items() if name != "blocks"}
        return model


def purchase_sequences(days: PurchaseDays, rows: int, length: int, padding: int) -> np.ndarray:
    """Return the last purchases of each row.

    The newest is at the end.

    `rows`, `length`: shape of the result.
    `padding`: value before the first purchase of a short sequence.
    """
    order = np.lexsort((days.column, -days.age, days.row))
    row, column = days.row[order], days.column[order]
    end = np.searchsorted(row, np.arange(rows), side="right")
    position = length - (end[row] - np.arange(len(row)))
    sequences = np.full((rows, length), padding, dtype=np.int64)
    fits = position >= 0
    sequences[row[fits], position[fits]] = column[fits]
    return sequences


def _normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON) * weight + bias


def _network(items: int, size: int, length: int, blocks: int, dropout: float) -> Any:
    import torch

    def block() -> Any:
        maps = {name: torch.nn.Linear(size, size, bias=False) for name in ("query", "key", "value")}
        return torch.nn.ModuleDict(
            {
                "before": torch.nn.LayerNorm(size),
                **maps,
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
    x = module["vectors"](sequences) * size**0.5 + module["places"].weight
    x = module["drop"](x).masked_fill(padded, 0)
    mask = torch.triu(torch.full((length, length), float("-inf")), 1) + torch.where(
        padded.transpose(1, 2), torch.tensor(-1e9), torch.tensor(0.0)
    )
    for block in module["blocks"]:
        normed = block["before"](x)
        attention = block["query"](normed) @ block["key"](x).transpose(1, 2) / size**0.5 + mask
        x = normed + module["drop"](torch.softmax(attention, dim=-1) @ block["value"](x))
        x = block["after"](x)
        x = (x + module["drop"](block["two"](torch.relu(block["one"](x))))).masked_fill(padded, 0)
    return module["last"](x)


def _loss(module: Any, inputs: Any, targets: Any, negatives: Any, items: int) -> Any:
    """Compute a sampled softmax loss. The whole batch shares the negatives."""
    import torch

    hidden = _forward(module, inputs, items)
    is_item = targets < items
    positive_scores = (hidden * module["vectors"](targets)).sum(dim=-1, keepdim=True)
    negative_scores = hidden @ module["vectors"](negatives).T
    negative_scores = negative_scores.masked_fill(negatives == targets[..., None], float("-inf"))
    logits = torch.cat([positive_scores, negative_scores], dim=-1)[is_item]
    return -torch.log_softmax(logits, dim=-1)[:, 0].mean()
