"""Serve the mailbox's page and its e-mails."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bot.playground.guard import CSP
from bot.playground.mailbox.mailbox import Mailbox, body_of
from bot.playground.page import file_route

PATH = "/mailbox"
FOLDER = Path(__file__).parent / "page"
MAX_SHOWN = 200  # e-mails in the list; a search finds the others
# An e-mail runs no script and loads nothing. Its links open in tabs of their own.
_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
EMAIL_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    f"frame-ancestors 'self'; sandbox {_SANDBOX}"
)


def mailbox_routes(mailbox: Mailbox) -> list[Route]:
    """Return the page's routes, all below `PATH`."""

    async def page(request: Request) -> Response:
        headers = {"content-security-policy": f"{CSP}; frame-src 'self'"}
        return FileResponse(FOLDER / "index.html", media_type="text/html", headers=headers)

    async def emails(request: Request) -> Response:
        count, newest = mailbox.search(request.query_params.get("search", ""), MAX_SHOWN)
        return JSONResponse({"count": count, "emails": newest})

    async def email(request: Request) -> Response:
        message = mailbox.read(request.path_params["number"])
        if message is None:
            return JSONResponse({"error": "There is no such e-mail."}, 404)
        headers = [(name, str(value)) for name, value in message.items()]
        return JSONResponse({"headers": headers, "text": body_of(message, "plain")})

    async def html(request: Request) -> Response:
        message = mailbox.read(request.path_params["number"])
        if message is None:
            return Response(status_code=404)
        shown = body_of(message, "html").replace("<head>", '<head><base target="_blank">', 1)
        return HTMLResponse(shown, headers={"content-security-policy": EMAIL_CSP})

    return [
        Route(PATH, page),
        Route(f"{PATH}/emails", emails),
        Route(f"{PATH}/emails/{{number:int}}", email),
        Route(f"{PATH}/emails/{{number:int}}/html", html),
        file_route(FOLDER, f"{PATH}/page"),
    ]
