"""Download pictures of products from the shop's public addresses."""

from retention.connect.sources import public_web
from retention.connect.sources.source_records import SourceProblem
from retention.pictures.decoding import MAX_BYTES, PictureProblem
from retention.settings import Settings


def fetch(settings: Settings, address: str) -> bytes:
    """Download one picture, by HTTPS and from no private address, also after redirects.

    Raises `PictureProblem`.
    """
    if not address.lower().startswith("https://"):
        raise PictureProblem("not_https")
    content = b""
    try:
        with public_web.answer(settings, address, {}) as answer:
            if answer.url.scheme != "https":
                raise PictureProblem("not_https")
            if answer.status_code == 404:
                raise PictureProblem("missing")
            for piece in answer.iter_bytes(1 << 16):
                content += piece
                if len(content) > MAX_BYTES:
                    raise PictureProblem("too_large")
    except SourceProblem as problem:
        # A page that refuses us will refuse the next picture, too; one that is gone will not.
        raise PictureProblem("unreachable") from problem
    return content
