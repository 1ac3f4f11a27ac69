"""A stand-in for a shop's web pages, pictures and links that apply a discount."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060"
    "000000040001f61738550000000049454e44ae426082"
)


@contextmanager
def stand_in_shop(pictures: Mapping[str, bytes] | None = None) -> Iterator[str]:
    """A shop with a page per item, pictures, and Shopify's link that applies a discount."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            discount = re.fullmatch(r"/discount/[\w-]+", parts.path)
            if discount:
                self.send_response(302)
                self.send_header("Location", parse_qs(parts.query)["redirect"][0])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            is_picture = parts.path.endswith(".png")
            pages = r"/|/products/i\d+|/unsubscribe/[\w-]+"
            picture = (pictures or {}).get(parts.path, PIXEL)
            content = picture if is_picture else b"<!doctype html><title>Shop</title>"
            self.send_response(200 if is_picture or re.fullmatch(pages, parts.path) else 404)
            self.send_header("Content-Type", "image/png" if is_picture else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
