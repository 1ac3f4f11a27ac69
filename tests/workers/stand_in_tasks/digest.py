"""A job that ends at once with an image and a file."""

import struct
import zlib

from workers.tasks.interface import Attachment, Outcome, Post


def run(request, context):
    file = Attachment("week.csv", "text/csv", b"customer,code\n1,ABC\n", sensitive=True)
    return Outcome(
        {"ok": True},
        (
            Post("job/refused", {"sentence": f"digest {context.job_id}"}),
            Post("job/refused", {"sentence": "the file"}, channel=context.requested_by, file=file),
        ),
    )


def picture() -> bytes:
    """One grey pixel, as PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0\x80"))
        + chunk(b"IEND", b"")
    )
