"""Serve Slack's HTTP API for the app."""

import asyncio
import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from bot.playground import seed
from bot.playground.methods import METHODS
from bot.playground.user_actions import UserActions
from bot.playground.workspace import (
    RESPONSE_URL_SECONDS,
    RESPONSE_URL_USES,
    Json,
    SlackError,
    Workspace,
)

HANG_SECONDS = 15.0  # longer than any client's time-out


class WebApi:
    """The request handlers."""

    def __init__(self, user_actions: UserActions) -> None:
        self.user_actions, self.api = user_actions, user_actions.api
        self.hang_seconds = HANG_SECONDS

    @property
    def workspace(self) -> Workspace:
        return self.user_actions.workspace

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/{method}", self.call, methods=["GET", "POST"]),
            Route("/upload/{id}", self.upload, methods=["POST"]),
            Route("/files-pri/{id}/download/{name}", self.private_file),
            Route("/files-pri/{id}/vtt/{name}", self.private_file),
            Route("/files-pri/{id}/{name}", self.private_file),
            Route("/response/{token}", self.respond, methods=["POST"]),
            WebSocketRoute("/link", self.link),
        ]

    async def call(self, request: Request) -> Response:
        """Run one Web API call, with the active faults."""
        name, faults = request.path_params["method"], self.api.faults
        args, token = await _arguments(request)
        try:
            self._authenticate(name, token)
            if faults.strikes("rate_limited", name):
                raise SlackError("ratelimited", retry_after=1)
            if faults.strikes("server_error", name):
                return JSONResponse({"ok": False, "error": "internal_error"}, 500)
            if wait := self.api.rate_limiter.call(name):
                raise SlackError("ratelimited", retry_after=wait)
            answer: Json = {"ok": True, **METHODS[name](self.api, args)}
            if faults.strikes("timeout_after_accept", name):
                await asyncio.sleep(self.hang_seconds)
            return JSONResponse(answer)
        except SlackError as error:
            return _refused(error)

    def _authenticate(self, name: str, token: str) -> None:
        expected = seed.APP_TOKEN if name == "apps.connections.open" else seed.BOT_TOKEN
        if name == "api.test" or token == expected:
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
        """Store the bytes of an announced file."""
        file = self.workspace.files.get(request.path_params["id"])
        if file is None:
            return PlainTextResponse("not found", 404)
        if "multipart/form-data" in request.headers.get("content-type", ""):
            form = await request.form()
            part = next((value for value in form.values() if not isinstance(value, str)), None)
            content = await part.read() if part else b""
        else:
            content = await request.body()
        if len(content) != file.size:
            return PlainTextResponse(f"announced {file.size} bytes, got {len(content)}", 400)
        file.state = "uploaded"
        self.workspace.keep_file(file, content)
        return PlainTextResponse(f"OK - {len(content)}")

    async def private_file(self, request: Request) -> Response:
        """Return a file's bytes to the bot; others get Slack's page to sign in."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if token != seed.BOT_TOKEN:
            return HTMLResponse("<title>Sign in</title>")
        file = self.workspace.files.get(request.path_params["id"].rpartition("-")[2])
        content = self.workspace.store.content("file", file.id) if file else None
        if file is None or content is None:
            return PlainTextResponse("not found", 404)
        if "/vtt/" in request.url.path:
            # As Slack writes it: a byte order mark, and a dash before each cue.
            cue = f"00:00:00.000 --> 00:00:09.000\n- {file.transcript}"
            return PlainTextResponse(f"\ufeffWEBVTT \n\n{cue}\n")
        return Response(content, media_type="application/octet-stream")

    async def respond(self, request: Request) -> Response:
        """Serve a response URL: 5 uses within 30 minutes."""
        url = self.workspace.response_urls.get(request.path_params["token"])
        if url is None or time.monotonic() - url.created_at > RESPONSE_URL_SECONDS:
            return JSONResponse({"ok": False, "error": "expired_url"}, 404)
        if url.uses >= RESPONSE_URL_USES:
            return JSONResponse({"ok": False, "error": "used_url"}, 404)
        url.uses += 1
        try:
            answer = json.loads(await request.body())
        except ValueError:
            return PlainTextResponse("invalid_payload", 400)
        problem = self.user_actions.answer(url.channel, url.user, answer, url.message)
        return PlainTextResponse(problem, 400) if problem else PlainTextResponse("ok")

    async def link(self, socket: WebSocket) -> None:
        """Open Socket Mode for an app with a ticket."""
        ticket = socket.query_params.get("ticket", "")
        if ticket not in self.workspace.tickets:
            await socket.close(4401)
            return
        self.workspace.tickets.discard(ticket)
        await self.user_actions.delivery.serve_socket(socket)


def _refused(error: SlackError) -> Response:
    extra = dict(error.extra)
    if wait := extra.pop("retry_after", None):
        return JSONResponse(
            {"ok": False, "error": error.code}, 429, headers={"retry-after": str(wait)}
        )
    return JSONResponse({"ok": False, "error": error.code, **extra})


async def _arguments(request: Request) -> tuple[Json, str]:
    """Return a call's arguments and token."""
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
    form_token = str(args.pop("token", ""))
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    return args, bearer or form_token
