"""The trained recommender, and its artefact: plain arrays and a JSON header in one npz, never a pickle."""

import io
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import numpy as np

from retention.recommend.blend import Mixture
from retention.recommend.models import MODELS, Collaborative

FORMAT = 1


@dataclass(frozen=True, slots=True)
class TrainedRecommender:
    """Items that go together, as learned before ``cutoff``, and the mixture that ranked best in the window before it.

    It holds no customer under an id: histories are read from the lake when a list is asked for.

    Parameters
    ----------
    items : ndarray of str, sorted
        The columns of ``model``.
    model : Collaborative or None
        None where there is too little to learn from.
    mixture : Mixture
    cutoff, horizon_days, seed, min_buyers
        As trained.
    metrics : dict
        NDCG@10 and others in the last horizon before the cutoff, on customers not used for the tuning, beside the
        baselines; empty where the history is too short.
    rung : str
        What was used and why, in a sentence.
    """

    items: np.ndarray
    model: Collaborative | None
    mixture: Mixture
    cutoff: datetime
    horizon_days: int
    seed: int
    min_buyers: int
    metrics: dict[str, Any] = field(default_factory=dict)
    rung: str = ""

    @property
    def estimator(self) -> str:
        """Name of the model, as people see it."""
        return f"own+{self.model.name}" if self.model is not None else "own+popular"

    @property
    def parameters(self) -> dict[str, Any]:
        """For the registry."""
        return {**self.mixture.as_dict(), "min_buyers": self.min_buyers, "items": len(self.items)}

    def to_bytes(self) -> bytes:
        """The artefact."""
        header = {
            "format": FORMAT,
            "model": self.model.name if self.model is not None else None,
            "mixture": self.mixture.as_dict(),
            "cutoff": self.cutoff.isoformat(),
            "horizon_days": self.horizon_days,
            "seed": self.seed,
            "min_buyers": self.min_buyers,
            "metrics": self.metrics,
            "rung": self.rung,
        }
        learned = self.model.arrays() if self.model is not None else {}
        target = io.BytesIO()
        np.savez(
            target,
            header=np.array(json.dumps(header)),
            items=np.array(self.items, dtype=str),
            **{f"model.{name}": array for name, array in learned.items()},  # type: ignore[arg-type]
        )
        return target.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read an artefact back.

        Raises
        ------
        ValueError
            For another format, or arrays that would need unpickling.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] != FORMAT:
                raise ValueError(f"a recommender of format {header['format']}; this version reads {FORMAT}")
            learned = {name[6:]: file[name] for name in file.files if name.startswith("model.")}
            items = file["items"].astype(object)
        kind = header["model"]
        return cls(
            items=items,
            model=MODELS[kind].restore(learned) if kind else None,
            mixture=Mixture(**header["mixture"]),
            cutoff=datetime.fromisoformat(header["cutoff"]),
            horizon_days=header["horizon_days"],
            seed=header["seed"],
            min_buyers=header["min_buyers"],
            metrics=header["metrics"],
            rung=header["rung"],
        )
