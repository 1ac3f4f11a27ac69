"""``/playground/clock``: the time machine for the page and for scripts."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.playground.timemachine import TimeMachine, span
from retention.errors import Conflict, Refused


def clock_routes(machine: TimeMachine) -> list[Route]:
    """GET says the time; POST with ``advance=7d`` moves it and answers when its work is done."""

    async def read(request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(machine.state))

    async def move(request: Request) -> Response:
        form = await request.form()
        try:
            by = span(str(form.get("advance") or ""))
            journey = await asyncio.to_thread(machine.advance, by)
        except Refused as error:
            return JSONResponse({"error": str(error)}, 409 if isinstance(error, Conflict) else 422)
        return JSONResponse(journey.as_dict())

    return [
        Route("/playground/clock", read, methods=["GET"]),
        Route("/playground/clock", move, methods=["POST"]),
    ]
