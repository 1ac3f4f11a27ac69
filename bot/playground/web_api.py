"""Slack's HTTP surface for the app: ``/api/METHOD``, uploads, response URLs, Socket Mode."""

import asyncio
import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from bot.playground import methods_more, seed
from bot.playground.desk import Desk
from bot.playground.methods import METHODS
from bot.playground.workspace import (
    RESPONSE_URL_SECONDS,
    RESPONSE_URL_USES,
    Json,
    SlackError,
    Workspace,
)

assert methods_more  # importing it registers its methods
HANG_SECONDS = 15.0  # longer than any client's patience


class WebApi:
    """The handlers, over one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.api = desk, desk.api
        self.hang_seconds = HANG_SECONDS

    @property
    def workspace(self) -> Workspace:
        return self.desk.workspace

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return [
            Route("/api/{method}", self.call, methods=["GET", "POST"]),
            Route("/upload/{id}", self.upload, methods=["POST"]),
            Route("/response/{token}", self.respond, methods=["POST"]),
            WebSocketRoute("/link", self.link),
        ]

    async def call(self, request: Request) -> Response:
        """One Web API call, with the faults that are switched on."""
        name, faults = request.path_params["method"], self.api.faults
        args, token = await _arguments(request)
        try:
            self._authenticate(name, token)
            if faults.strikes("rate_limited", name):
                raise SlackError("ratelimited", retry_after=1)
            if faults.strikes("server_error", name):
                return JSONResponse({"ok": False, "error": "internal_error"}, 500)
            if wait := self.api.pace.call(name):
                raise SlackError("ratelimited", retry_after=wait)
            answer: Json = {"ok": True, **METHODS[name](self.api, args)}
            if faults.strikes("timeout_after_accept", name):
                await asyncio.sleep(self.hang_seconds)
            return JSONResponse(answer)
        except SlackError as error:
            return _refused(error)

    def _authenticate(self, name: str, token: str) -> None:
        wanted = seed.APP_TOKEN if name == "apps.connections.open" else seed.BOT_TOKEN
        if name == "api.test" or token == wanted:
            pass
        elif not token:
            raise SlackError("not_authed")
        elif token in (seed.APP_TOKEN, seed.BOT_TOKEN):
            raise SlackError("not_allowed_token_type")
        else:
            raise SlackError("invalid_auth")
        if name not in METHODS:
            raise SlackError("unknown_method", req_method=name)

    async def upload(self, request: Request) -> Response:
        """The bytes of a file whose upload was announced, as a form field or as the body."""
        file = self.workspace.files.get(request.path_params["id"])
        if file is None:
            return PlainTextResponse("not found", 404)
        if "multipart/form-data" in request.headers.get("content-type", ""):
            form = await request.form()
            part = next((one for one in form.values() if not isinstance(one, str)), None)
            content = await part.read() if part else b""
        else:
            content = await request.body()
        if len(content) != file.size:
            return PlainTextResponse(f"announced {file.size} bytes, got {len(content)}", 400)
        file.state = "uploaded"
        self.workspace.keep_file(file, content)
        return PlainTextResponse(f"OK - {len(content)}")

    async def respond(self, request: Request) -> Response:
        """A response URL: 5 uses within 30 minutes."""
        url = self.workspace.response_urls.get(request.path_params["token"])
        if url is None or time.monotonic() - url.made > RESPONSE_URL_SECONDS:
            return JSONResponse({"ok": False, "error": "expired_url"}, 404)
        if url.uses >= RESPONSE_URL_USES:
            return JSONResponse({"ok": False, "error": "used_url"}, 404)
        url.uses += 1
        try:
            answer = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse("invalid_payload", 400)
        problem = self.desk.answer(url.channel, url.user, answer, url.message)
        return PlainTextResponse(problem, 400) if problem else PlainTextResponse("ok")

    async def link(self, socket: WebSocket) -> None:
        """Socket Mode, for whoever asked for the address with the app's token."""
        ticket = socket.query_params.get("ticket", "")
        if ticket not in self.workspace.tickets:
            await socket.close(4401)
            return
        self.workspace.tickets.discard(ticket)
        await self.desk.delivery.serve_socket(socket)


def _refused(error: SlackError) -> Response:
    extra = dict(error.extra)
    if wait := extra.pop("retry_after", None):
        return JSONResponse(
            {"ok": False, "error": error.code}, 429, headers={"retry-after": str(wait)}
        )
    return JSONResponse({"ok": False, "error": error.code, **extra})


async def _arguments(request: Request) -> tuple[Json, str]:
    """Arguments from the query, a form (JSON texts inside it read) or a JSON body; and the token."""
    args: dict[str, Any] = dict(request.query_params)
    kind = request.headers.get("content-type", "")
    if "application/json" in kind:
        args |= json.loads(await request.body() or b"{}")
    elif request.method == "POST":
        args |= dict(await request.form())
    for name in ("blocks", "metadata", "files", "view", "attachments"):
        if isinstance(args.get(name), str):
            try:
                args[name] = json.loads(args[name])
            except ValueError:
                args[name] = "unreadable"
    given = str(args.pop("token", ""))
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    return args, bearer or given
