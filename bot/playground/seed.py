"""Who and what is in the workspace: people, the bot, channels, tokens."""

from dataclasses import dataclass

TEAM_ID, TEAM_NAME, TEAM_DOMAIN = "T0DEMO", "Journey Grocers", "journey-grocers"
APP_ID, BOT_ID, BOT_USER = "A0RETENTION", "B0RETENTION", "U0BOT"
BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = (
    "xoxb-playground",
    "xapp-playground",
    "playground-signing-secret",
)
TIMEZONE = "America/New_York"


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the workspace; ``handle`` is what scripts and mentions call them."""

    id: str
    handle: str
    name: str
    title: str
    colour: str
    is_bot: bool = False

    def wire(self) -> dict:
        """As ``users.info`` shows them."""
        profile = {"real_name": self.name, "display_name": self.handle, "title": self.title}
        return {
            "id": self.id,
            "team_id": TEAM_ID,
            "name": self.handle,
            "real_name": self.name,
            "deleted": False,
            "is_bot": self.is_bot,
            "is_admin": self.handle == "admin",
            "is_restricted": False,
            "tz": TIMEZONE,
            "tz_label": "Eastern Time",
            "tz_offset": -14400,
            "profile": profile,
            "color": self.colour.lstrip("#"),
            "locale": "en-US",
        }


PEOPLE: tuple[Person, ...] = (
    Person("U0VIEWER", "viewer", "Vera Lindqvist", "Store operations", "#5b8a72"),
    Person("U0ANALYST", "analyst", "Ana Moreau", "CRM analyst", "#b4553f"),
    Person("U0LEAD", "lead", "Leo Okafor", "CRM lead", "#3d6fa5"),
    Person("U0ADMIN", "admin", "Ada Brandt", "Workspace admin", "#7b5aa6"),
)
BOT = Person(BOT_USER, "retention", "Retention Desk", "", "#4a154b", is_bot=True)
SLACKBOT = Person("USLACKBOT", "slackbot", "Slackbot", "", "#616061", is_bot=True)
EVERYONE: dict[str, Person] = {person.id: person for person in (*PEOPLE, BOT, SLACKBOT)}


def person(name: str) -> Person | None:
    """Find a member by handle (with or without ``@``) or by id."""
    wanted = name.removeprefix("@")
    return next((one for one in EVERYONE.values() if wanted in (one.handle, one.id)), None)


@dataclass(slots=True)
class Channel:
    """A conversation; ``im_of`` is the person whose direct message with the bot it is."""

    id: str
    name: str
    topic: str = ""
    private: bool = False
    members: tuple[str, ...] = ()
    im_of: str | None = None

    @property
    def has_bot(self) -> bool:
        return BOT_USER in self.members

    def wire(self) -> dict:
        """As ``conversations.info`` shows it to the bot."""
        common = {
            "id": self.id,
            "created": 1506816000,
            "is_archived": False,
            "is_im": bool(self.im_of),
            "is_mpim": False,
            "is_org_shared": False,
            "context_team_id": TEAM_ID,
        }
        if self.im_of:
            return {
                **common,
                "user": self.im_of,
                "is_open": True,
                "is_user_deleted": False,
                "priority": 0,
            }
        return {
            **common,
            "name": self.name,
            "name_normalized": self.name,
            "is_channel": True,
            "is_group": False,
            "is_private": self.private,
            "is_general": self.name == "general",
            "is_member": self.has_bot,
            "num_members": len(self.members),
            "topic": {"value": self.topic, "creator": "", "last_set": 0},
            "purpose": {"value": "", "creator": "", "last_set": 0},
        }


def channels() -> list[Channel]:
    """A fresh workspace's conversations: the bot is in ``crm`` and in everybody's direct message."""
    people = tuple(one.id for one in PEOPLE)
    return [
        Channel(
            "C0CRM", "crm", "Who is lapsing, and what we do about it", members=(*people, BOT_USER)
        ),
        Channel("C0GENERAL", "general", "Company-wide", members=people),
        Channel(
            "C0PRIVATE",
            "private",
            "Leadership only; the app is not here",
            private=True,
            members=people,
        ),
        *(
            Channel(f"D{one.id[1:]}", f"@{one.handle}", members=(one.id, BOT_USER), im_of=one.id)
            for one in PEOPLE
        ),
    ]
