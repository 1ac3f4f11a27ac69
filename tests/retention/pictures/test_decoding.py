"""Test that pictures of unknown origin are opened within limits."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from retention.pictures import decoding
from retention.pictures.decoding import PictureProblem, decode
from tests.retention.pictures.fakes import encoded


def problem(content: bytes) -> str:
    with pytest.raises(PictureProblem) as refused:
        decode(content)
    return refused.value.code


@pytest.mark.parametrize("kind", decoding.TYPES)
def test_whole_picture_stands_on_a_white_square(kind):
    square = decode(encoded("red", kind, size=(400, 200)))
    assert square.shape == (224, 224, 3)
    np.testing.assert_allclose(square[112, 112], (255, 0, 0), atol=3)
    assert (square[5, 112] == 255).all()  # above the wide picture


def test_transparent_background_is_white():
    assert (decode(encoded((0, 0, 0, 0), mode="RGBA")) == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "PDF"])
def test_other_types_are_refused(kind):
    assert problem(encoded("red", kind)) == "wrong_type"


@pytest.mark.parametrize("content", [b"", b"<html>no picture</html>", b"<svg/>"])
def test_what_is_no_picture_is_refused(content):
    assert problem(content) == "wrong_type"


@pytest.mark.parametrize("kind", decoding.TYPES)
def test_cut_picture_is_damaged(kind):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(noise).save(target, kind)
    assert problem(target.getvalue()[: len(target.getvalue()) // 2]) == "damaged"


def test_picture_of_too_many_pixels_is_not_unpacked():
    """50 kB of PNG can unpack to 10 GB."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    assert problem(content) == "too_many_pixels"


def test_too_many_bytes_are_refused():
    assert problem(encoded() + bytes(decoding.MAX_BYTES)) == "too_large"
