"""Test the embeddings of pictures; those of the model need ``pictures`` (make test-pictures)."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from retention.errors import BadInput
from retention.pictures import embedding, extra, store
from retention.pictures.decoding import decode
from tests.benchmarks.pictures import draw
from tests.retention.pictures.fakes import encoded

needs_model = pytest.mark.skipif(not extra.is_installed(), reason="the extra is not installed")
DAISY, MONASTERY, PALACE, BELL_TOWER = 985, 663, 698, 442  # of ImageNet


def drawn(*look, seed):
    return np.asarray(draw(np.random.default_rng(seed), look).resize((224, 224)))


def test_colours_ignore_background_and_little_light():
    red, blue = decode(encoded((200, 40, 45))), decode(encoded((40, 80, 190)))
    paler = decode(encoded((210, 50, 55), size=(90, 30)))
    vectors = [embedding.colours(each) for each in (red, blue, paler)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[2] > 0.95 > 0.5 > vectors[0] @ vectors[1]
    assert len(vectors[0]) == store.COLOURS


def test_changed_weights_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"other weights")
    with pytest.raises(BadInput, match=r"weights\.pth is not the file.*pip install"):
        embedding.verify(path)


@pytest.mark.pictures
@needs_model
def test_model_recognises_photographs():
    """The architecture and the scaling of colours fit the weights."""
    logits = []
    for photograph in load_sample_images().images:  # a Chinese tower, and a flower
        square = Image.fromarray(photograph).resize((224, 224), Image.Resampling.BICUBIC)
        pixels = (np.asarray(square, np.float32) - embedding.CENTRE) / embedding.SCALE
        batch = embedding.torch.from_numpy(pixels.transpose(2, 0, 1)[None])
        with embedding.torch.inference_mode():
            logits.append(embedding._model()(batch).numpy()[0])
    assert {*np.argsort(-logits[0])[:5]} & {MONASTERY, PALACE, BELL_TOWER}
    assert DAISY in np.argsort(-logits[1])[:5]


@pytest.mark.pictures
@needs_model
def test_same_shape_and_pattern_is_closer_than_another():
    looks = [("red", "star", "dots"), ("red", "star", "dots"), ("red", "tall", "stripes")]
    vectors = embedding.embed([drawn(*look, seed=n) for n, look in enumerate(looks)])
    assert vectors.shape == (3, store.SIZE)
    features = vectors[:, : store.FEATURES]
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-4)
    closeness = features @ features.T
    assert closeness[0, 1] > closeness[0, 2] + 0.1
