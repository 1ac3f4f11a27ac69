"""Act as a person in Slack.

Each action becomes Slack's request to the app, and the app's answer becomes Slack's display.
"""

import asyncio
import re
import time
import uuid
from typing import Any

from bot.playground import seed
from bot.playground.checks import check_blocks
from bot.playground.deliver import Ack, Delivery
from bot.playground.elements import action_of, full_state, missing_inputs
from bot.playground.methods import ApiContext
from bot.playground.views import make_view, push
from bot.playground.workspace import File, Json, Message, SlackError, Workspace

HOME_SECONDS = 3.0


def _event(message: Message, channel: seed.Channel) -> Json:
    return {
        "type": "message",
        "user": message.user,
        "text": message.text,
        "ts": message.ts,
        "event_ts": message.ts,
        "channel": message.channel,
        "channel_type": "im" if channel.im_of else "group" if channel.private else "channel",
        "team": seed.TEAM_ID,
    }


def _place(channel: seed.Channel) -> Json:
    return {"id": channel.id, "name": "directmessage" if channel.im_of else channel.name}


class UserActions:
    def __init__(self, api: ApiContext, delivery: Delivery) -> None:
        self.api, self.delivery = api, delivery
        # What each person chose in a message: its inputs by block and action id.
        self._chosen: dict[tuple[str, str, str], Json] = {}

    @property
    def workspace(self) -> Workspace:
        return self.api.workspace

    async def _interact(self, person: seed.Person, kind: str, **fields: Any) -> Ack:
        """Deliver an interaction with what all of them have in common."""
        user = {"username": person.handle, "name": person.handle, "team_id": seed.TEAM_ID}
        common = {
            "type": kind,
            "user": {"id": person.id, **user},
            "api_app_id": seed.APP_ID,
            "token": "playground",
            "team": {"id": seed.TEAM_ID, "domain": seed.TEAM_DOMAIN},
            "enterprise": None,
            "is_enterprise_install": False,
        }
        if kind != "view_closed":
            common["trigger_id"] = self.workspace.trigger(person.id)
        return await self.delivery.interaction({**common, **fields})

    def _response_url(self, person: seed.Person, channel: str, message: Message | None) -> str:
        return self.workspace.response_url(channel, person.id, message)

    def _show_failure(self, channel: str, person: seed.Person, action: str, error: str) -> None:
        self.workspace.post(
            channel,
            seed.SLACKBOT.id,
            f"{action} failed with the error “{error}”",
            only_for=person.id,
        )

    # ------------------------------------------------------------ commands and messages

    async def command(self, person: seed.Person, channel: seed.Channel, line: str) -> Ack:
        """Type ``/word text`` in a conversation. ``/invite @retention`` is Slack's own."""
        word, _, text = line.strip().partition(" ")
        if word == "/invite":
            return self._invite(person, channel, text)
        payload = {
            "token": "playground",
            "team_id": seed.TEAM_ID,
            "team_domain": seed.TEAM_DOMAIN,
            "channel_id": channel.id,
            "channel_name": _place(channel)["name"],
            "user_id": person.id,
            "user_name": person.handle,
            "command": word,
            "text": self._escaped(text),
            "api_app_id": seed.APP_ID,
            "is_enterprise_install": "false",
            "response_url": self._response_url(person, channel.id, None),
            "trigger_id": self.workspace.trigger(person.id),
        }
        ack = await self.delivery.command(payload)
        if ack.error:
            self._show_failure(channel.id, person, word, ack.error)
        elif ack.body:
            answer = ack.body if isinstance(ack.body, dict) else {"text": str(ack.body)}
            self.answer(channel.id, person.id, answer)
        return ack

    def answer(
        self, channel: str, user: str, answer: Json, original: Message | None = None
    ) -> str | None:
        """Show the app's answer. It comes from its acknowledgement or a response URL."""
        blocks = answer.get("blocks") or []
        if answer.get("delete_original") and original:
            self.workspace.remove(original)
            return None
        if not answer.get("text") and not blocks:
            return "no_text"
        if check_blocks(blocks, "message", self.workspace.file_usable):
            return "invalid_blocks"
        if answer.get("replace_original") and original:
            self.workspace.revise(original, answer.get("text", ""), blocks, edited_by=None)
            return None
        only_for = None if answer.get("response_type") == "in_channel" else user
        self.workspace.post(
            channel,
            seed.BOT_USER,
            answer.get("text", ""),
            blocks,
            only_for=only_for,
            thread_ts=answer.get("thread_ts"),
        )
        return None

    def _escaped(self, text: str) -> str:
        """Replace names by ids (``should_escape: true``)."""

        def mention(match: re.Match[str]) -> str:
            person = seed.person(match[1])
            if person:
                return f"<@{person.id}|{person.handle}>"
            group = next(
                (one for one, (handle, _) in seed.GROUPS.items() if handle == match[1]), ""
            )
            return f"<!subteam^{group}|@{match[1]}>" if group else match[0]

        def channel(match: re.Match[str]) -> str:
            channels = self.workspace.channels.values()
            named = next((channel for channel in channels if channel.name == match[1]), None)
            return f"<#{named.id}|{named.name}>" if named else match[0]

        for one in seed.EVERYONE.values():  # a full name has a blank
            text = re.sub(rf"(?<!\S)@{one.name}(?!\w)", f"@{one.handle}", text, flags=re.IGNORECASE)
        return re.sub(r"(?<!\S)#([\w-]+)", channel, re.sub(r"(?<!\S)@([\w-]+)", mention, text))

    def _invite(self, person: seed.Person, channel: seed.Channel, text: str) -> Ack:
        if text.strip().removeprefix("@") not in (seed.BOT.handle, seed.BOT.name) or channel.im_of:
            self._show_failure(channel.id, person, "/invite", "user_not_found")
            return Ack(200, "user_not_found", 0)
        self.workspace.join(channel, seed.BOT_USER)
        self.workspace.post(
            channel.id,
            seed.SLACKBOT.id,
            f"<@{seed.BOT_USER}> was added to #{channel.name} by <@{person.id}>.",
        )
        return Ack(200, None, 0)

    async def say(
        self, person: seed.Person, channel: seed.Channel, text: str, thread_ts: str | None = None
    ) -> Message:
        """Write a message. The app gets an event in its direct message or after a mention."""
        plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        message = self.workspace.post(
            channel.id, person.id, self._escaped(plain), thread_ts=thread_ts
        )
        event = {**_event(message, channel), "client_msg_id": str(uuid.uuid4())}
        if thread_ts:
            event["thread_ts"] = thread_ts
        if channel.has_bot and not channel.im_of and f"<@{seed.BOT_USER}" in message.text:
            mention = {key: value for key, value in event.items() if key != "channel_type"}
            await self.delivery.event({**mention, "type": "app_mention"})
        if channel.im_of or channel.has_bot:
            await self.delivery.event(event)
        return message

    async def share(
        self,
        person: seed.Person,
        channel: seed.Channel,
        name: str,
        content: bytes,
        transcript: str | None = None,
    ) -> Message:
        """Share a file. The app gets the event ``message`` with the subtype ``file_share``.

        `transcript`: words of a recording, which Slack has only after the event.
        """
        file = File.new(name, len(content), state="complete", user=person.id, transcript=transcript)
        self.workspace.keep_file(file, content)
        message = self.workspace.post(channel.id, person.id, "", files=[file.id])
        file.shares.setdefault(channel.id, []).append(message.ts)
        self.workspace.keep_file(file)
        if channel.im_of or channel.has_bot:
            files = [self.workspace.file_wire(file)]
            shared = {"subtype": "file_share", "files": files, "upload": False}
            await self.delivery.event({**_event(message, channel), **shared})
        file.is_transcribed = True
        self.workspace.keep_file(file)
        return message

    # ------------------------------------------------------------ shortcuts

    async def shortcut(
        self,
        person: seed.Person,
        callback_id: str,
        channel: seed.Channel | None = None,
        ts: str | None = None,
    ) -> Ack:
        """Choose a shortcut, of a message's menu or a global one.

        Raises `SlackError`: ``message_not_found``: there is none, or only the person sees it.
        """
        chosen = {"callback_id": callback_id, "action_ts": self.workspace.next_ts()}
        if channel is None:
            return await self._interact(person, "shortcut", **chosen)
        message = self.workspace.messages[channel.id].get(ts or "")
        if message is None or message.only_for:
            raise SlackError("message_not_found")
        return await self._interact(
            person,
            "message_action",
            **chosen,
            message_ts=message.ts,
            message={**self.workspace.wire(message), "blocks": message.blocks},
            channel=_place(channel),
            response_url=self._response_url(person, channel.id, message),
        )

    # ------------------------------------------------------------ buttons and choices

    async def press(
        self,
        person: seed.Person,
        channel: seed.Channel,
        ts: str,
        block_id: str,
        action_id: str,
        value: Any,
    ) -> Ack:
        """Press a button or choose in a message.

        The message may be outdated.

        Raises `SlackError`: ``message_not_found``, ``action_not_found``.
        """
        message = self.workspace.messages[channel.id].get(ts)
        if message is None or message.only_for not in (None, person.id):
            raise SlackError("message_not_found")
        action = action_of([*message.past, *message.blocks], block_id, action_id, value)
        chosen = self._chosen.setdefault((person.id, channel.id, ts), {})
        if action["type"] not in ("button", "overflow"):
            kept = {key: one for key, one in action.items() if key.startswith("selected_")}
            chosen.setdefault(action["block_id"], {})[action_id] = kept
        container = {"type": "message", "message_ts": ts, "channel_id": channel.id}
        return await self._interact(
            person,
            "block_actions",
            container={**container, "is_ephemeral": bool(message.only_for)},
            channel=_place(channel),
            message={**self.workspace.wire(message), "blocks": message.blocks},
            state={"values": full_state(message.blocks, chosen)},
            actions=[action],
            response_url=self._response_url(person, channel.id, message),
        )

    async def press_in_view(
        self,
        person: seed.Person,
        view: Json,
        block_id: str,
        action_id: str,
        value: Any,
        state: Json,
    ) -> Ack:
        """Press a button or choose in a view."""
        action = action_of(view["blocks"], block_id, action_id, value)
        view["state"] = {"values": full_state(view["blocks"], state)}
        container = {"type": "view", "view_id": view["id"]}
        return await self._interact(
            person, "block_actions", container=container, view=view, actions=[action]
        )

    # ------------------------------------------------------------ modals and the Home tab

    async def submit(self, person: seed.Person, values: Json) -> Ack:
        """Submit the open modal.

        Slack itself checks required inputs.

        `values`: inputs by block and action id.
        """
        view = self.workspace.modal(person.id)
        if view is None:
            raise SlackError("no_view_open")
        values = full_state(view["blocks"], values)
        view["state"] = {"values": values}
        if errors := missing_inputs(view["blocks"], values):
            self._show_errors(person, view, errors)
            return Ack(200, {"response_action": "errors", "errors": errors}, 0)
        ack = await self._interact(person, "view_submission", view=view, response_urls=[])
        if ack.error:
            error = f"We had some trouble connecting. Try again? ({ack.error})"
            self._show_errors(person, view, {"": error})
        else:
            self._respond(person, view, ack.body if isinstance(ack.body, dict) else {})
        return ack

    def _show_errors(self, person: seed.Person, view: Json, errors: Json) -> None:
        self.workspace.notify(
            {"type": "view_errors", "user": person.id, "view_id": view["id"], "errors": errors}
        )

    def _respond(self, person: seed.Person, view: Json, answer: Json) -> None:
        stack = self.workspace.modals.get(person.id, [])
        action = answer.get("response_action")
        if action == "errors":
            self._show_errors(person, view, answer.get("errors", {}))
            return
        try:
            if action == "push":
                push(self.workspace, person.id, answer.get("view"))
                return
            if action == "update" and view in stack:
                stack[stack.index(view)] = make_view(
                    self.workspace, answer.get("view"), "modal", old=view
                )
            elif action == "clear":
                stack.clear()
            elif view in stack:
                stack.remove(view)
        except SlackError as error:
            self._show_errors(person, view, {"": f"Slack refused the app's view: {error.code}"})
            return
        self.workspace.show_modal(person.id)

    async def close(self, person: seed.Person) -> Ack:
        """Close the open modal. The app is notified if it asked for that."""
        stack = self.workspace.modals.get(person.id)
        if not stack:
            raise SlackError("no_view_open")
        view = stack.pop()
        if view["clear_on_close"]:
            stack.clear()
        self.workspace.show_modal(person.id)
        if not view["notify_on_close"]:
            return Ack(200, None, 0)
        return await self._interact(person, "view_closed", view=view, is_cleared=False)

    async def home(self, person: seed.Person) -> Json | None:
        """Open the Home tab and return its view."""
        before = self.workspace.homes.get(person.id)
        event = {
            "type": "app_home_opened",
            "user": person.id,
            "tab": "home",
            "event_ts": self.workspace.next_ts(),
            "channel": self.workspace.channel(person.id).id,
        }
        ack = await self.delivery.event({**event, "view": before} if before else event)
        until = time.monotonic() + (HOME_SECONDS if ack.ok else 0)
        while self.workspace.homes.get(person.id) is before and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return self.workspace.homes.get(person.id)
