"""Serve ``/playground/*`` for page and scripts."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.playground import seed
from bot.playground.methods import MAX_FILE_BYTES
from bot.playground.rate_limits import FAULTS
from bot.playground.user_actions import UserActions
from bot.playground.workspace import Json, SlackError, Workspace
from bot.slack.envelopes import Values

STREAM_QUEUE, HEARTBEAT = 500, 15.0
_VALUES: TypeAdapter[Values] = TypeAdapter(Values)


class RequestError(Exception):
    """A request that cannot be answered. It becomes a JSON error."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def find_person(name: str) -> seed.Person:
    """Find a person by handle or id."""
    person = seed.person(name)
    if person is None or person.is_bot:
        people = ", ".join(person.handle for person in seed.PEOPLE)
        raise RequestError(404, f"There is no person {name!r} here; there are {people}.")
    return person


class PlaygroundApi:
    """The request handlers."""

    def __init__(self, user_actions: UserActions, extras: dict[str, Any] | None = None) -> None:
        self.user_actions, self.extras = user_actions, extras or {}

    @property
    def workspace(self) -> Workspace:
        return self.user_actions.workspace

    def routes(self) -> list[Route]:
        listed: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("POST", "/commands", self.commands),
            ("POST", "/messages", self.write),
            ("GET", "/channels/{name}/messages", self.messages),
            ("POST", "/channels/{name}/read", self.mark_read),
            ("POST", "/actions", self.actions),
            ("POST", "/shortcuts", self.shortcuts),
            ("GET", "/views", self.view),
            ("POST", "/views", self.views),
            ("GET", "/home", self.home),
            ("POST", "/files", self.share),
            ("GET", "/files/{id}", self.file),
            ("POST", "/faults", self.faults),
            ("GET", "/workspace", self.overview),
            ("GET", "/stream", self.stream),
        ]
        return [
            Route(f"/playground{path}", answered(handler), methods=[verb])
            for verb, path, handler in listed
        ]

    def _channel(self, name: str, person: seed.Person | None = None) -> seed.Channel:
        try:
            channel = self.workspace.channel(name)
        except SlackError:
            raise RequestError(404, f"There is no channel {name!r} here.") from None
        if person and person.id not in channel.members:
            raise RequestError(403, f"{person.name} is not in {channel.name}.")
        return channel

    async def commands(self, request: Request) -> Response:
        """Type a slash command."""
        form, person = await _form(request)
        line = field(form, "text").strip()
        if not line.startswith("/"):
            line = f"/retention {line}"
        channel = self._channel(field(form, "channel"), person)
        ack = await self.user_actions.command(person, channel, line)
        return JSONResponse(ack.as_dict())

    async def write(self, request: Request) -> Response:
        """Write an ordinary message."""
        form, person = await _form(request)
        channel = self._channel(field(form, "channel"), person)
        thread = form.get("thread_ts")
        message = await self.user_actions.say(
            person, channel, field(form, "text"), str(thread) if thread else None
        )
        return JSONResponse(self.workspace.shown(message))

    async def share(self, request: Request) -> Response:
        """Share a file in a conversation."""
        form, person = await _form(request)
        channel = self._channel(field(form, "channel"), person)
        upload = form.get("file")
        if not isinstance(upload, UploadFile) or not upload.filename:
            raise RequestError(422, "The field 'file' is missing.")
        content = await upload.read()
        if not 0 < len(content) <= MAX_FILE_BYTES:
            raise RequestError(422, f"{upload.filename} is empty or too large.")
        transcript = form.get("transcript")
        words = transcript if isinstance(transcript, str) else None
        message = await self.user_actions.share(person, channel, upload.filename, content, words)
        return JSONResponse(self.workspace.shown(message))

    async def messages(self, request: Request) -> Response:
        """Return a conversation as a person sees it."""
        user = request.query_params.get("user")
        person = find_person(user) if user else None
        channel = self._channel(request.path_params["name"])
        visible = self.workspace.seen_by(channel.id, person.id if person else None)
        return JSONResponse([self.workspace.shown(message) for message in visible])

    async def mark_read(self, request: Request) -> Response:
        """Store a person's position in a conversation."""
        form, person = await _form(request)
        channel = self._channel(request.path_params["name"])
        key = f"{person.id} {channel.id}"
        self.workspace.read[key] = field(form, "ts")
        self.workspace.store.put("read", key, {"ts": self.workspace.read[key]})
        return JSONResponse({"ok": True})

    async def actions(self, request: Request) -> Response:
        """Press a button or choose."""
        form, person = await _form(request)
        block_id, action_id = str(form.get("block_id") or ""), field(form, "action_id")
        value = _value(form)
        if view := self._requested_view(form, person):
            state = _values(form, "state")
            ack = await self.user_actions.press_in_view(
                person, view, block_id, action_id, value, state
            )
        else:
            channel = self._channel(field(form, "channel"), person)
            ack = await self.user_actions.press(
                person, channel, field(form, "ts"), block_id, action_id, value
            )
        return JSONResponse(ack.as_dict())

    async def shortcuts(self, request: Request) -> Response:
        """Choose a global shortcut, or one of a message's menu."""
        form, person = await _form(request)
        name, ts = form.get("channel"), form.get("ts")
        channel = self._channel(str(name), person) if name and ts else None
        ack = await self.user_actions.shortcut(
            person, field(form, "callback_id"), channel, str(ts) if ts else None
        )
        return JSONResponse(ack.as_dict())

    def _requested_view(self, form: FormData, person: seed.Person) -> Json | None:
        requested = form.get("view_id")
        if not requested:
            return None
        modal, home = self.workspace.modal(person.id), self.workspace.homes.get(person.id)
        views = (view for view in (modal, home) if view)
        view = next((view for view in views if requested in (view["id"], view["type"])), None)
        if view is None:
            raise RequestError(404, f"{person.name} has no view {requested!r} open.")
        return view

    async def view(self, request: Request) -> Response:
        """Return the open modal, or null."""
        return JSONResponse(self.workspace.modal(_asking(request).id))

    async def views(self, request: Request) -> Response:
        """Submit or close the open modal."""
        form, person = await _form(request)
        action = str(form.get("action") or "submit")
        if action not in ("submit", "close"):
            raise RequestError(422, f"action is {action!r}; use submit or close.")
        values = _values(form, "values")
        ack = await (
            self.user_actions.close(person)
            if action == "close"
            else self.user_actions.submit(person, values)
        )
        return JSONResponse(ack.as_dict())

    async def home(self, request: Request) -> Response:
        """Open the Home tab and return the published view."""
        return JSONResponse(await self.user_actions.home(_asking(request)))

    async def file(self, request: Request) -> Response:
        """Return a file's bytes. They are never served as a page of our own origin."""
        file = self.workspace.files.get(request.path_params["id"])
        content = self.workspace.store.content("file", file.id) if file else None
        if file is None or content is None:
            raise RequestError(404, f"There is no file {request.path_params['id']!r}.")
        inline = file.mimetype.startswith("image/") and file.mimetype != "image/svg+xml"
        name = file.name.replace('"', "'").encode("ascii", "replace").decode()
        disposition = (
            "inline" if inline and "download" not in request.query_params else "attachment"
        )
        return Response(
            content,
            media_type=file.mimetype,
            headers={"content-disposition": f'{disposition}; filename="{name}"'},
        )

    async def faults(self, request: Request) -> Response:
        """Let Slack fail for the next N calls."""
        form = await request.form()
        kind, calls = field(form, "kind"), str(form.get("calls") or "1")
        if kind not in FAULTS or not calls.isdigit():
            known = ", ".join(FAULTS)
            text = f"kind is {kind!r} and calls {calls!r}; kind is one of {known}, calls a number."
            raise RequestError(422, text)
        method = form.get("method")
        faults = self.user_actions.api.faults
        faults.set(kind, int(calls), str(method) if method else None)
        return JSONResponse({"left": faults.left, "struck": faults.struck})

    async def overview(self, request: Request) -> Response:
        """Return people, channels and the page's extras."""
        person = find_person(request.query_params.get("user", "viewer"))
        extras = {
            key: value(person.id) if callable(value) else value
            for key, value in self.extras.items()
        }
        channels = [
            {
                "id": channel.id,
                "name": channel.name,
                "topic": channel.topic,
                "private": channel.private,
                "im": bool(channel.im_of),
                "has_bot": channel.has_bot,
                "members": len(channel.members),
                "unread": self._unread(channel, person),
            }
            for channel in self.workspace.channels.values()
            if person.id in channel.members
        ]
        shown = {
            "team": {"id": seed.TEAM_ID, "name": seed.TEAM_NAME},
            "timezone": seed.TIMEZONE,
            "me": person.id,
            "bot": seed.BOT_USER,
            "people": [asdict(someone) for someone in seed.EVERYONE.values()],
            "channels": channels,
        }
        return JSONResponse({**shown, **extras})

    def _unread(self, channel: seed.Channel, person: seed.Person) -> int:
        read = self.workspace.read.get(f"{person.id} {channel.id}", "")
        messages = self.workspace.seen_by(channel.id, person.id)
        return sum(
            message.ts > read and message.user != person.id and not message.is_reply
            for message in messages
        )

    async def stream(self, request: Request) -> Response:
        """Stream all changes for a person as server-sent events."""
        return StreamingResponse(
            self._events(_asking(request), request), media_type="text/event-stream"
        )

    async def _events(self, person: seed.Person, request: Request) -> AsyncIterator[str]:
        queue: asyncio.Queue[Json] = asyncio.Queue(STREAM_QUEUE)
        self.workspace.listeners.add(queue)
        try:
            yield 'data: {"type": "hello"}\n\n'
            while not await request.is_disconnected():
                try:
                    event = await asyncio.wait_for(queue.get(), HEARTBEAT)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if event.get("type") == "bye":
                    return
                if self._concerns(event, person):
                    yield f"data: {json.dumps(event)}\n\n"
        finally:
            self.workspace.listeners.discard(queue)

    def _concerns(self, event: Json, person: seed.Person) -> bool:
        if any(event.get(key) not in (None, person.id) for key in ("user", "only_for")):
            return False
        channel = self.workspace.channels.get((event.get("message") or {}).get("channel", ""))
        return channel is None or person.id in channel.members


def answered(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler to turn its errors into JSON."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as refusal:
            return JSONResponse({"error": str(refusal)}, refusal.status)
        except SlackError as error:
            return JSONResponse({"error": error.code, **error.extra}, 404)

    return handle


async def _form(request: Request) -> tuple[FormData, seed.Person]:
    """Return a request's form, and the person who acts."""
    form = await request.form()
    return form, find_person(field(form, "user"))


def _asking(request: Request) -> seed.Person:
    return find_person(request.query_params.get("user", ""))


def field(form: FormData, name: str) -> str:
    """Return a required form field."""
    value = form.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(422, f"The field {name!r} is missing.")
    return value


def _value(form: FormData) -> Any:
    values = [str(value) for value in form.getlist("value")]
    return values if len(values) > 1 else values[0] if values else None


def _values(form: FormData, name: str) -> Json:
    """Return a form field with inputs in the format of Slack's ``view.state.values``."""
    text = form.get(name)
    if not text:
        return {}
    try:
        parsed = json.loads(str(text))
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise RequestError(422, f"The field {name!r} is not a JSON object.")
    try:
        _VALUES.validate_python(parsed)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        example = '{"BLOCK": {"ACTION": {"value": "TEXT"}}}'
        text = f"{place!r} in the field {name!r} is not valid; write {example}."
        raise RequestError(422, text) from None
    return parsed
