"""Open pictures of unknown origin, within limits of type and size."""

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Problem = Literal[
    "not_https", "unreachable", "missing", "too_large", "too_many_pixels", "wrong_type", "damaged"
]
TYPES = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 10 * 2**20
MAX_PIXELS = 50_000_000
EDGE = 224  # pixels that the model sees
PADDING = (255, 255, 255)  # pictures of products mostly have a white background


class PictureProblem(Exception):
    """A picture cannot be used; others can."""

    def __init__(self, code: Problem) -> None:
        super().__init__(code)
        self.code: Problem = code


def decode(content: bytes) -> np.ndarray:
    """Return a picture's colours, (224, 224, 3) of 8 bits; the whole picture on a white square.

    Raises `PictureProblem`.
    """
    if len(content) > MAX_BYTES:
        raise PictureProblem("too_large")
    try:
        with Image.open(io.BytesIO(content), formats=TYPES) as picture:
            # The header alone tells the size: nothing is unpacked before this check.
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureProblem("too_many_pixels")
            picture.draft("RGB", (2 * EDGE, 2 * EDGE))  # a JPEG is unpacked at a smaller size
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except Image.UnidentifiedImageError:
        raise PictureProblem("wrong_type") from None
    except Image.DecompressionBombError:
        raise PictureProblem("too_many_pixels") from None
    # Pillow raises these, too, where a file contradicts itself.
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError):
        raise PictureProblem("damaged") from None
    white = Image.new("RGBA", upright.size, (*PADDING, 255))
    opaque = Image.alpha_composite(white, upright).convert("RGB")
    square = ImageOps.pad(opaque, (EDGE, EDGE), Image.Resampling.BICUBIC, color=PADDING)
    return np.asarray(square, dtype=np.uint8)
