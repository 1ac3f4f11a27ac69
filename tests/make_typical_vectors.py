"""``python -m tests.make_typical_vectors``: embed the typical questions anew, after a change."""

import numpy as np

from retention.service import typical

if __name__ == "__main__":
    np.save(typical.VECTORS, typical.embedded().astype(np.float16), allow_pickle=False)
