"""The shop's rules for who is one customer: the section ``[identity]`` of the policy file."""

import tomllib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retention.errors import BadInput
from retention.policy_file import first_fault, read_text, validated
from retention.settings import Settings
from retention.text import gettext


class IdentityRules(BaseModel):
    """Which keys make two customers one, and how sure a likeness must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after_import: bool = True  # link exact keys by itself after customers were imported
    email: bool = True
    phone: bool = True
    attributes: tuple[Annotated[str, Field(pattern=r"^\w+$")], ...] = ("loyalty_id",)
    country: Annotated[str, Field(pattern=r"^([A-Z]{2})?$")] = (
        ""  # of telephone numbers that do not say theirs
    )
    dots: tuple[str, ...] = ("gmail.com", "googlemail.com")  # where dots in an address mean nothing
    plus: tuple[str, ...] = (
        "gmail.com",
        "googlemail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "icloud.com",
        "me.com",
        "fastmail.com",
        "proton.me",
        "protonmail.com",
        "pm.me",
    )  # where +anything means nothing
    most_shared: Annotated[int, Field(ge=2, le=100)] = (
        4  # a key of more customers than this links nobody
    )
    largest: Annotated[int, Field(ge=2, le=1000)] = (
        12  # nobody becomes one with more ids than this by itself
    )
    accept: Annotated[float, Field(gt=0, le=1)] = 0.95
    review: Annotated[float, Field(gt=0, le=1)] = 0.7

    @model_validator(mode="after")
    def _in_order(self) -> "IdentityRules":
        if self.review > self.accept:
            raise ValueError(f"review ({self.review}) must not be above accept ({self.accept})")
        return self


def load(settings: Settings) -> IdentityRules:
    """The policy's ``[identity]``, or the defaults where there is no policy or no such section.

    Raises
    ------
    BadInput
        One sentence that names the file and the fault.
    """
    if settings.policy is None:
        return IdentityRules()
    try:
        said = tomllib.loads(read_text(settings.policy))
        return validated(IdentityRules, said.get("identity", {}))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(
            gettext("The policy {policy} cannot be read: {error}.").format(
                policy=settings.policy, error=error
            )
        ) from None
    except ValidationError as error:
        raise BadInput(
            gettext("The policy {policy} cannot be used: {first_fault}.").format(
                policy=settings.policy, first_fault=first_fault(error, "identity")
            )
        ) from None
