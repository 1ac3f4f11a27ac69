"""Store a trained recommender in an npz file.

It holds plain arrays and a JSON header, and needs no pickle.
"""

import io
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import numpy as np

from retention.errors import BadInput
from retention.recommend.candidates import CandidateSources
from retention.recommend.cold_start import ColdStart
from retention.recommend.evaluation.evaluation_context import BOTH, NEW, POLICIES
from retention.recommend.item_stats import ItemStats
from retention.recommend.matrices import drop_prefix
from retention.recommend.models import MODELS
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.ranking.ranker import Ranker
from retention.text import gettext

FORMAT = 6
PLAIN = ("horizon_days", "seed", "min_buyers", "metrics", "rung")  # fields in the header
MIXTURE, ALONE = "mixture", "alone"  # how lists are ranked without a ranker


@dataclass(frozen=True, slots=True)
class TrainedRecommender:
    """Hold item knowledge learned before a cutoff, and rankers.

    It holds no customer ids. Histories are read from the lake for each list.

    `rankers`: by policy, ``both`` and ``new``. Empty in small shops, where the mixture of
    `mixture_scores` ranks.
    `metrics`: NDCG@10 and others in the last horizon before the cutoff, on customers not used for
    tuning, with baselines. Empty for a short history.
    `event_weights`: learned weights of carts and views, see `event_weights.learn_weights`.
    `alone`: whether a single model ranks, without mixture or ranker.
    """

    sources: CandidateSources
    rankers: dict[str, Ranker]
    cutoff: datetime
    horizon_days: int
    seed: int
    min_buyers: int
    metrics: dict[str, Any] = field(default_factory=dict)
    rung: str = ""
    cold: ColdStart | None = None
    event_weights: dict[str, float] = field(default_factory=dict)
    alone: bool = False

    @property
    def items(self) -> np.ndarray:
        """Sorted ids of the known items."""
        return self.sources.item_stats.items

    @property
    def estimator(self) -> str:
        """Name of the model for people."""
        model = self.sources.model
        if self.alone and model is not None:
            return model.name
        kind = self.kinds[BOTH]
        ranked = "" if kind in (MIXTURE, ALONE) else f", ranked ({kind})"
        return f"own+{model.name if model is not None else 'popular'}{ranked}"

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of ranking by policy. A kind of ranker, ``mixture`` or ``alone``."""
        default = ALONE if self.alone else MIXTURE
        return {
            policy: self.rankers[policy].kind if policy in self.rankers else default
            for policy in POLICIES
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters for the registry."""
        return {
            **{f"ranker_{policy}": kind for policy, kind in self.kinds.items()},
            **{f"weight_{kind}": round(value, 4) for kind, value in self.event_weights.items()},
            "min_buyers": self.min_buyers,
            "items": len(self.items),
        }

    def ranker(self, policy: str) -> Ranker | None:
        """Return the ranker of a policy. None if the mixture ranks."""
        return self.rankers.get(NEW if policy == NEW else BOTH)

    def to_bytes(self) -> bytes:
        """Serialise the recommender."""
        model = self.sources.model
        header = {
            "format": FORMAT,
            "model": model.name if model is not None else None,
            "alone": self.alone,
            "cutoff": self.cutoff.isoformat(),
            **{name: getattr(self, name) for name in PLAIN},
            "worth": self.event_weights,
        }
        # Both policies may share a ranker.
        rankers = {
            f"ranker_{policy}": ranker
            for policy, ranker in self.rankers.items()
            if policy == BOTH or ranker is not self.rankers[BOTH]
        }
        parts: dict[str, Any] = {
            "shelf": self.sources.item_stats,
            "model": model,
            "neighbours": self.sources.neighbours,
            **rankers,
            "cold": self.cold,
        }
        arrays = {
            f"{group}.{name}": array
            for group, stored in parts.items()
            for name, array in (stored.arrays() if stored is not None else {}).items()
        }
        target = io.BytesIO()
        np.savez(target, header=np.array(json.dumps(header)), **arrays)
        return target.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a serialised recommender."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] != FORMAT:
                raise BadInput(
                    gettext(
                        "The recommender was saved in format {format}, and this version reads "
                        "{readable}."
                    ).format(format=header["format"], readable=FORMAT),
                    hint="retrain_recommend",
                )
            arrays = {name: file[name] for name in file.files}

        def restored(kind: Any, group: str) -> Any:
            parts = drop_prefix(arrays, f"{group}.")
            return kind.restore(parts) if parts else None

        model, both = header["model"], restored(Ranker, f"ranker_{BOTH}")
        return cls(
            sources=CandidateSources(
                restored(ItemStats, "shelf"),
                restored(MODELS[model], "model") if model else None,
                restored(UserKnn, "neighbours"),
            ),
            rankers={BOTH: both, NEW: restored(Ranker, f"ranker_{NEW}") or both} if both else {},
            cutoff=datetime.fromisoformat(header["cutoff"]),
            **{name: header[name] for name in PLAIN},
            event_weights=header["worth"],
            alone=header["alone"],
            cold=restored(ColdStart, "cold"),
        )
