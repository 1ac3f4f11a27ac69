"""Read the section ``[identity]`` of the policy file."""

import tomllib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retention.errors import BadInput
from retention.policy_file import explain_first_error, read_text, validate_strictly
from retention.settings import Settings
from retention.text import gettext


class IdentityRules(BaseModel):
    """Keys that link customers, and thresholds of similarity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after_import: bool = True  # link equal keys after each import of customers
    email: bool = True
    phone: bool = True
    attributes: tuple[Annotated[str, Field(pattern=r"^\w+$")], ...] = ("loyalty_id",)
    # Of telephone numbers without a country code.
    country: Annotated[str, Field(pattern=r"^([A-Z]{2})?$")] = ""
    dots: tuple[str, ...] = ("gmail.com", "googlemail.com")  # domains that ignore dots
    # Domains that ignore a suffix "+anything".
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
    )
    most_shared: Annotated[int, Field(ge=2, le=100)] = 4  # customers per key; above, it links none
    largest: Annotated[int, Field(ge=2, le=1000)] = 12  # ids per customer without review
    accept: Annotated[float, Field(gt=0, le=1)] = 0.95
    review: Annotated[float, Field(gt=0, le=1)] = 0.7

    @model_validator(mode="after")
    def _in_order(self) -> "IdentityRules":
        if self.review > self.accept:
            raise ValueError(f"review ({self.review}) must not be above accept ({self.accept})")
        return self


def load_rules(settings: Settings) -> IdentityRules:
    """Load the policy's rules, or the defaults.

    Raises
    ------
    BadInput
        If the file cannot be read or has a fault.
    """
    if settings.policy is None:
        return IdentityRules()
    try:
        sections = tomllib.loads(read_text(settings.policy))
        return validate_strictly(IdentityRules, sections.get("identity", {}))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(
            gettext("The policy {policy} cannot be read: {error}.").format(
                policy=settings.policy, error=error
            )
        ) from None
    except ValidationError as error:
        raise BadInput(
            gettext("The policy {policy} cannot be used: {fault}.").format(
                policy=settings.policy, fault=explain_first_error(error, "identity")
            )
        ) from None
