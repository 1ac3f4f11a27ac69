"""Social: what those whom a customer follows, or who brought them, like (Ma et al. 2009, simplified to a mean).

The friends' histories are looked up when a list is asked for (`Side.friends`); nothing is stored of who knows whom.
"""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.models.contract import NOTHING, Arrays, Side, checked, owners

TRACE = 1e-3  # of popularity: it only orders what friends like equally


class Social:
    """Friends' preferences, and a trace of popularity among what they like."""

    name = "social"
    looks_at: ClassVar[tuple[str, ...]] = ("friends",)

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn how popular items are; see `Model`."""
        counted = owners(checked(matrix)).astype(np.float32)
        self.popularity_ = counted / max(float(counted.max(initial=0)), 1.0)
        progress(1, 1, "Remembering what is popular")
        return self

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """Σ of the friends' preferences; 0 where a customer has no friends, or they bought nothing."""
        if side.friends is None:
            return np.zeros(histories.shape, dtype=np.float32)
        liked = side.friends.toarray().astype(np.float32)
        return liked * (1 + TRACE * self.popularity_)

    def arrays(self) -> dict[str, np.ndarray]:
        """How popular items are."""
        return {"popularity": self.popularity_}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls()
        made.popularity_ = arrays["popularity"]
        return made
