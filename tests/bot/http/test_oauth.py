"""Test the installation by OAuth: redirect, code, stored token."""

import logging
from contextlib import suppress
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr
from slack_bolt.error import BoltError
from slack_sdk.errors import SlackTokenRotationError
from slack_sdk.oauth.installation_store import Installation
from slack_sdk.oauth.token_rotation import TokenRotator
from sqlalchemy import func, select

from bot.http.server import missing_configuration
from bot.http.web import Site
from bot.slack.token_rotation import renew
from retention.db import Database
from retention.db.tables import SLACK_BOTS, SLACK_INSTALLATIONS, SLACK_STATES, Outbox
from retention.encryption import decrypt_bot_token
from retention.installation.rotation import reseal_all, rotate
from retention.keys import Keys
from retention.lake import Lake
from retention.lake.customer_directory import read
from retention.settings import Settings
from tests.bot.http.test_server import ask
from tests.bot.real_server import signature, slash_command
from tests.bot.wire import CHANNEL
from tests.standins.slack_api import Api
from tests.world import add, rows, scalar
from workers import installation
from workers.delivery.sender import Sender
from workers.queue.supervisor import Supervisor

TOKEN, CLIENT_SECRET, TEAM = "xoxb-brought", "the-client's-secret", "T0SHOP"  # as in tests/payloads


@pytest.fixture
def settings(settings) -> Settings:
    """OAuth without a bot token."""
    client = {"slack_client_id": "1.2", "slack_client_secret": SecretStr(CLIENT_SECRET)}
    own = {"slack_bot_token": None, "public_url": "https://crm.shop.example", **client}
    return settings.model_copy(update=own)


@pytest.fixture
def site(settings, database, api) -> Site:
    api.answers["oauth.v2.access"] = _granted()
    api.answers["auth.test"] = {"ok": True, "bot_id": "B1", "url": "https://shop.slack.com/"}
    return Site(settings, database)


def _granted(team: str | None = TEAM, token: str = TOKEN) -> dict:
    bot = {"access_token": token, "token_type": "bot", "scope": "commands"}
    bot |= {"bot_user_id": "U0BOT", "app_id": "A1", "authed_user": {"id": "U0ADMIN"}}
    return {"ok": True, **bot, "team": team and {"id": team, "name": "Shop"}, "enterprise": None}


def _begin(site: Site) -> tuple[dict[str, list[str]], str]:
    """Return the parameters of the redirect to Slack, and the cookie."""
    status, headers, _ = ask(site, "GET", "/slack/install")
    assert status == 302
    target = urlsplit(headers["location"])
    assert (target.hostname, target.path) == ("slack.com", "/oauth/v2/authorize")
    return parse_qs(target.query), headers["set-cookie"].partition(";")[0]


def _come_back(site: Site, state: str, cookie: str, code: str = "c0de") -> tuple[int, str]:
    request = {"headers": {"Cookie": cookie}, "query": f"code={code}&state={state}"}
    status, _, body = ask(site, "GET", "/slack/oauth_redirect", **request)
    return status, body.decode()


def _install(site: Site) -> tuple[int, str]:
    result, cookie = _begin(site)
    return _come_back(site, result["state"][0], cookie)


def _bots(database) -> list[tuple[str, str]]:
    stored = rows(database, select(SLACK_BOTS.c.team_id, SLACK_BOTS.c.bot_token))
    return [(team, decrypt_bot_token(database.settings.keys, token)) for team, token in stored]


def _type(site: Site, api: Api, team: str) -> str:
    """Return the answer to a command of a workspace."""
    body = slash_command("status", team_id=team, response_url=f"{api.url}response_url")
    answer = ask(site, "POST", "/slack/events", body.encode(), signature(body))[2]
    return f"{answer.decode()} {api.named('response_url')}"


def test_installation_stores_the_token_for_later_posts(site, database, api, caplog):
    caplog.set_level(logging.INFO)
    result, cookie = _begin(site)
    assert result["redirect_uri"] == ["https://crm.shop.example/slack/oauth_redirect"]
    assert {"commands", "chat:write"} <= set(result["scope"][0].split(","))
    status, page = _come_back(site, result["state"][0], cookie)
    assert (status, "Thank you" in page) == (200, True)
    (request,) = api.named("oauth.v2.access")
    assert request["code"] == "c0de"
    assert _bots(database) == [(TEAM, TOKEN)]
    assert site.app.client.token == TOKEN
    payload = {"text": "t", "blocks": [], "images": {}}
    add(database, Outbox(key="k", channel=CHANNEL, payload=payload))
    sender = Sender(database)
    assert sender._transport._web.token == TOKEN
    assert sender.step()
    assert api.named("chat.postMessage")
    assert "belongs to another" not in _type(site, api, TEAM)
    assert not [secret for secret in (TOKEN, CLIENT_SECRET) if secret in caplog.text]


def _is_in_clear(database, token: str) -> bool:
    files = Path(database.url.database).parent.glob("*.db*")
    return any(token.encode() in file.read_bytes() for file in files)


def _with_a_new_key_alone(settings, database) -> Database:
    """Rotate the root key; return the database of a desk without the old one."""
    rotated = rotate(settings)
    directory = read(Lake.open(rotated), rotated)
    with database.using(rotated).transaction() as session:
        reseal_all(directory, session, "operator")
    alone = rotated.model_copy()
    alone.__dict__["keys"] = Keys(rotated.keys.all[:1])
    return database.using(alone)


def test_bot_token_is_nowhere_in_clear_and_follows_a_new_key(settings, database, site):
    assert _install(site)[0] == 200
    assert not _is_in_clear(database, TOKEN)
    stored = rows(database, select(SLACK_INSTALLATIONS.c.bot_token))
    alone = _with_a_new_key_alone(settings, database)
    assert installation.bot_token(alone) == TOKEN
    assert rows(database, select(SLACK_INSTALLATIONS.c.bot_token)) != stored
    assert not _is_in_clear(database, TOKEN)


def test_bot_token_of_an_unknown_key_counts_as_not_installed(settings, database, site, caplog):
    assert _install(site)[0] == 200
    other = settings.model_copy(update={"secret_key": SecretStr("k" * 32)})
    other.__dict__["keys"] = Keys((b"k" * 32,))
    assert installation.bot_token(database.using(other)) is None
    assert caplog.records[-1].levelname == "ERROR"
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("wrong", ["state", "cookie", "twice"])
def test_foreign_oauth_state_installs_nothing(site, database, api, wrong):
    result, cookie = _begin(site)
    state = result["state"][0]
    if wrong == "twice":
        _come_back(site, state, cookie)
    state = "forged" if wrong == "state" else state
    cookie = "slack-app-oauth-state=other" if wrong == "cookie" else cookie
    status, page = _come_back(site, state, cookie)
    assert status in (400, 401)
    assert "try again" in page
    assert len(api.named("oauth.v2.access")) == (wrong == "twice")
    assert len(_bots(database)) == (wrong == "twice")


def test_failed_oauth_exchange_is_explained_without_a_traceback(site, settings, database, api):
    api.answers["oauth.v2.access"] = {"ok": False, "error": "invalid_code"}
    status, page = _install(site)
    assert (status, "invalid_code" in page) == (401, True)
    result, cookie = _begin(site)
    site.app.oauth_flow.client.base_url = "http://127.0.0.1:9/api/"
    status, page = _come_back(site, result["state"][0], cookie)
    assert (status, "begin again at /slack/install" in page) == (503, True)
    assert _bots(database) == []


@pytest.mark.parametrize("named", [True, False])
def test_installation_of_another_workspace_is_refused(settings, database, api, site, named):
    """Anybody can open the page, but the data is one shop's."""
    if named:
        site = Site(settings.model_copy(update={"slack_team_id": TEAM}), database)
    else:
        assert _install(site)[0] == 200
    before = _bots(database)
    for theirs in ("T0OTHER", None):
        api.answers["oauth.v2.access"] = _granted(theirs, "xoxb-theirs")
        status, page = _install(site)
        assert (status, "belongs to another workspace" in page) == (403, True)
    assert _bots(database) == before
    assert len(api.named("auth.revoke")) == 2
    assert "belongs to another workspace" in _type(site, api, "T0OTHER")
    api.answers["oauth.v2.access"] = _granted(token="xoxb-anew")
    assert _install(site)[0] == 200  # ours, once more
    assert site.app.client.token == "xoxb-anew"


def test_one_of_two_concurrent_installations_wins(database, api, site, monkeypatch):
    request, others = installation.workspace_id, []

    def slowly(*given):
        """The other one comes back from Slack between our question and what follows from it."""
        ours = request(*given)
        if not others:
            others.append(Thread(target=store, args=(None, _installed("T0OTHER"))))
            others[0].start()
            others[0].join(0.3)
        return ours

    def store(*given) -> None:
        with suppress(BoltError):
            site.app.oauth_flow.store_installation(*given)

    monkeypatch.setattr(installation, "workspace_id", slowly)
    store(None, _installed(TEAM))
    others[0].join(10)
    assert _bots(database) == [(TEAM, TOKEN)]
    assert len(api.named("auth.revoke")) == 1


def _installed(team: str) -> Installation:
    bot = {"bot_token": TOKEN, "bot_id": "B1", "bot_user_id": "U0BOT"}
    return Installation(app_id="A1", user_id="U0ADMIN", team_id=team, **bot)


def _rotating(api: Api, number: int, expires_in: int = 43_200) -> None:
    """Let Slack give the bot token and the refresh token of this number."""
    tokens = {"expires_in": expires_in, "refresh_token": f"xoxe-{number}-{'r' * 140}"}
    api.answers["oauth.v2.access"] = {**_granted(token=f"xoxe.xoxb-{number}"), **tokens}


def test_expiring_token_is_renewed_before_its_end(site, database, api):
    _rotating(api, 1)
    assert _install(site)[0] == 200
    assert not renew(database)  # ten hours early
    _rotating(api, 2, expires_in=7_000)
    assert _install(site)[0] == 200
    _rotating(api, 3)
    assert renew(database)
    asked = api.named("oauth.v2.access")[-1]
    assert asked["grant_type"] == "refresh_token"
    assert asked["refresh_token"].startswith("xoxe-2-")
    assert site.app.client.token == "xoxe.xoxb-3"
    assert not renew(database)
    assert not any(_is_in_clear(database, token) for token in ("xoxe.xoxb-3", "xoxe-3-"))


def test_token_that_slack_does_not_renew_is_an_error_and_stays(site, database, api):
    _rotating(api, 1, expires_in=60)
    assert _install(site)[0] == 200
    api.answers["oauth.v2.access"] = {"ok": False, "error": "invalid_refresh_token"}
    with pytest.raises(SlackTokenRotationError):
        renew(database)
    assert site.app.client.token == "xoxe.xoxb-1"


def test_of_two_bots_that_renew_at_once_the_second_keeps_the_new_token(
    site, database, api, monkeypatch
):
    """Slack takes a refresh token once."""
    _rotating(api, 1, expires_in=60)
    assert _install(site)[0] == 200
    first = TokenRotator.perform_bot_token_rotation

    def after_the_other(self, *, bot):
        monkeypatch.setattr(TokenRotator, "perform_bot_token_rotation", first)
        _rotating(api, 2)
        assert renew(database)
        api.answers["oauth.v2.access"] = {"ok": False, "error": "invalid_refresh_token"}
        return first(self, bot=bot)

    monkeypatch.setattr(TokenRotator, "perform_bot_token_rotation", after_the_other)
    assert not renew(database)
    assert site.app.client.token == "xoxe.xoxb-2"


def test_refresh_token_follows_a_new_key(settings, database, site, api):
    _rotating(api, 1, expires_in=60)
    assert _install(site)[0] == 200
    alone = _with_a_new_key_alone(settings, database)
    _rotating(api, 2)
    assert renew(alone)
    assert api.named("oauth.v2.access")[-1]["refresh_token"].startswith("xoxe-1-")


def test_configured_token_takes_precedence(settings, database, api, site):
    assert _install(site)[0] == 200
    result = {"slack_bot_token": SecretStr("xoxb-named"), "slack_team_id": TEAM}
    named = Site(settings.model_copy(update=result), database)
    assert named.app.client.token == "xoxb-named"


def test_bot_and_sender_start_before_the_installation(settings, database, site):
    assert missing_configuration(settings) == ""
    assert {"bot", "sender"} <= {child.name for child in Supervisor(settings).children}
    assert site.app.client.token is None


def test_oauth_is_off_unless_configured(settings, database):
    for missing in ({"slack_client_id": ""}, {"slack_client_secret": None}):
        site = Site(settings.model_copy(update=missing), database)
        for path in ("/slack/install", "/slack/oauth_redirect"):
            assert ask(site, "GET", path)[0] == 404
    assert scalar(database, select(func.count()).select_from(SLACK_STATES)) == 0
