"""Define the workspace's people, bot, channels and tokens."""

from dataclasses import dataclass

TEAM_ID, TEAM_NAME, TEAM_DOMAIN = "T0DEMO", "Journey Grocers", "journey-grocers"
APP_ID, BOT_ID, BOT_USER = "A0RETENTION", "B0RETENTION", "U0BOT"
BOT_TOKEN, APP_TOKEN = "xoxb-playground", "xapp-playground"
SIGNING_SECRET = "playground-signing-secret"  # noqa: S105 - of tests
TIMEZONE = "America/New_York"


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the workspace. Scripts and mentions use the ``handle``."""

    id: str
    handle: str
    name: str
    title: str
    colour: str
    is_bot: bool = False

    def wire(self) -> dict:
        """Return the person as in ``users.info``."""
        profile = {"real_name": self.name, "display_name": self.handle, "title": self.title}
        if not self.is_bot:
            profile["email"] = f"{self.handle}@shop.example"
        return {
            "id": self.id,
            "team_id": TEAM_ID,
            "name": self.handle,
            "real_name": self.name,
            "deleted": False,
            "is_bot": self.is_bot,
            "is_admin": self.handle == "admin",
            "tz": TIMEZONE,
            "profile": profile,
            "locale": "en-US",
        }


PEOPLE: tuple[Person, ...] = (
    Person("U0VIEWER", "viewer", "Vera Lindqvist", "Store operations", "#3f6b55"),
    Person("U0ANALYST", "analyst", "Ana Moreau", "CRM analyst", "#b4553f"),
    Person("U0LEAD", "lead", "Leo Okafor", "CRM lead", "#3d6fa5"),
    Person("U0ADMIN", "admin", "Ada Brandt", "Workspace admin", "#7b5aa6"),
)
BOT = Person(BOT_USER, "retention", "Retention Desk", "", "#4a154b", is_bot=True)
SLACKBOT = Person("USLACKBOT", "slackbot", "Slackbot", "", "#616061", is_bot=True)
EVERYONE: dict[str, Person] = {person.id: person for person in (*PEOPLE, BOT, SLACKBOT)}


def person(name: str) -> Person | None:
    """Find a member by handle or id."""
    handle = name.removeprefix("@")
    return next(
        (member for member in EVERYONE.values() if handle in (member.handle, member.id)), None
    )


@dataclass(slots=True)
class Channel:
    """A conversation. ``im_of`` is the person of a direct message with the bot."""

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
        """Return the conversation in the Web API's format."""
        common = {"id": self.id, "is_archived": False, "is_im": bool(self.im_of)}
        if self.im_of:
            return {**common, "user": self.im_of, "is_open": True}
        return {
            **common,
            "name": self.name,
            "is_channel": True,
            "is_private": self.private,
            "is_member": self.has_bot,
            "num_members": len(self.members),
            "topic": {"value": self.topic},
        }


GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {  # handle and members, by id
    "S0CRMTEAM": ("crm-team", ("U0ANALYST", "U0LEAD")),
    "S0STORES": ("stores", ("U0VIEWER",)),
}


def channels() -> list[Channel]:
    """Return the conversations of a new workspace.

    The bot is in ``crm`` and the direct messages.
    """
    people = tuple(person.id for person in PEOPLE)
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
