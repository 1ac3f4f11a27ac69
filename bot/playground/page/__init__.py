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


def file_route(folder: Path, path: str) -> Route:
    """Return a route for the files of a page's folder."""
    parts = {file.name: file for file in folder.iterdir() if file.suffix in _TYPES}

    async def part(request: Request) -> Response:
        file = parts.get(request.path_params["name"])
        if file is None:
            return Response(status_code=404)
        return FileResponse(file, media_type=_TYPES[file.suffix])

    return Route(f"{path}/{{name}}", part)


def page_routes() -> list[Route]:
    """Return the routes of the page. The page is at ``/`` and its files are below ``/page/``."""

    async def index(request: Request) -> Response:
        return FileResponse(FOLDER / "index.html", media_type=_TYPES[".html"])

    return [Route("/", index), file_route(FOLDER, "/page")]
