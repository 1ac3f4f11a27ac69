"""Serve the page, which needs no build step."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

FOLDER = Path(__file__).parent
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def page_routes() -> list[Route]:
    """Return the routes of the page.

    The page is at ``/`` and its files are below ``/page/``.
    """
    parts = {path.name: path for path in FOLDER.iterdir() if path.suffix in _TYPES}

    async def index(request: Request) -> Response:
        return FileResponse(parts["index.html"], media_type=_TYPES[".html"])

    async def part(request: Request) -> Response:
        path = parts.get(request.path_params["name"])
        if path is None:
            return Response(status_code=404)
        return FileResponse(path, media_type=_TYPES[path.suffix])

    return [Route("/", index), Route("/page/{name}", part)]
