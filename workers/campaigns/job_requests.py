"""Define the requests about campaigns and their codes at the shop."""

from typing import TYPE_CHECKING, Literal

from retention.campaigns.message.parts import PartChanges
from retention.errors import BadInput
from retention.risk.policy import load_policy
from retention.risk.strategy import WIN_BACK, KindName
from retention.text import gettext
from workers.job_request_base import Anonymous, CustomerId, OfSome, Request, Tier

if TYPE_CHECKING:
    from retention.db import Transaction
    from retention.settings import Settings


class CampaignDraft(OfSome):
    """Draft a campaign."""

    kind = "campaign_draft"
    title = gettext("Campaign draft")
    deed = gettext("draft a campaign")
    campaign_kind: KindName = WIN_BACK
    cohort_id: str | None = None
    tier: Tier | None = None  # None: the best audience, from the cohort's tiers (or high) on
    listed: bool = False  # only the customers of the list
    name: str | None = None
    customer_id: CustomerId | None = None  # only this customer
    offer: Literal["share", "amount", "free_shipping", "reminder"] | None = None  # for all
    discount: float | None = None  # shares from 0 to 1; None: as the policy says
    holdout: float | None = None
    budget: float | None = None
    message_channel: Literal["email", "sms", "whatsapp"] = "email"

    def check(self, session: "Transaction") -> None:
        """Refuse terms that the policy does not allow."""
        super().check(session)
        from retention.campaigns.planning.requested_terms import with_terms

        with_terms(
            load_policy(session.settings).for_kind(self.campaign_kind),
            discount=None if self.offer else self.discount,
            holdout=self.holdout,
            budget=self.budget,
            currency=session.settings.currency,
        )


class CampaignWiden(OfSome):
    """Give a draft a wider audience, or that of another channel, as its next version."""

    kind = "campaign_widen"
    title = gettext("Draft with another audience")
    deed = gettext("edit a campaign")
    campaign_id: str
    version: int
    tier: Tier | None = None
    listed: bool = False
    customer_id: CustomerId | None = None
    message_channel: Literal["email", "sms", "whatsapp"] | None = None  # None: the campaign's


class CampaignSend(Request):
    """Issue an approved campaign's codes."""

    kind = "campaign_send"
    title = gettext("Campaign send")
    deed = gettext("send a campaign")
    campaign_id: str
    version: int


class CampaignDeliver(Anonymous):
    """Send a live campaign's due e-mails."""

    kind = "campaign_deliver"
    title = gettext("Campaign deliver")
    demo_queue = "interactive"  # the import of the next week waits in the other
    deed = gettext("send a campaign")
    campaign_id: str
    # Business time minus real time, in seconds, when the e-mails were due. The demo's clock may
    # move on while they are sent.
    clock_offset: float | None = None


class ShopCodes(Anonymous):
    """Make or delete the codes of a campaign at the shop."""

    kind = "shop_codes"
    title = gettext("Shop codes")
    deed = gettext("send a campaign")
    campaign_id: str


class ShopReconcile(Anonymous):
    """Compare the codes at a shop with ours."""

    kind = "shop_reconcile"
    title = gettext("Shop check")
    role = "admin"
    deed = gettext("check the codes at the shop")
    connection_id: int


class CampaignPreview(Request):
    """Show a campaign's first five e-mails without sending them."""

    kind = "campaign_preview"
    title = gettext("Campaign preview")
    queue = "interactive"
    deed = gettext("preview a campaign")
    campaign_id: str
    picture: bool = False  # only the picture of the first e-mail
    view_id: str | None = None  # the open window that shows the picture
    copy_text: str | None = None  # instead of the campaign's text
    group: str | None = None  # only customers of this offer group
    customer_id: CustomerId | None = None  # only this customer
    variant: Literal["A", "B", "C", "D"] | None = None  # as it would be for this variant
    typed: PartChanges | None = None  # not saved yet; of the group, else of all
    to_me: bool = False  # send the first e-mail to the person, as a test
    address: str = ""  # the person's, if Slack told it
    person: str = ""  # the name that the test greets

    def check(self, session: "Transaction") -> None:
        """Say at once why a test e-mail cannot be sent."""
        super().check(session)
        if self.to_me:
            require_trial_channel(session.settings, self.address)

    @property
    def is_private(self) -> bool:
        """Return whether the result goes to the person's direct message."""
        return self.to_me


def require_trial_channel(settings: "Settings", address: str) -> str:
    """Return the channel of a test e-mail to a person's own address."""
    from retention.outreach.dispatch import configured_channel

    if not address:
        raise BadInput(
            gettext(
                "Your e-mail address is not known: Slack tells it if the app has the scopes "
                "`users:read` and `users:read.email` and your profile has an address."
            )
        )
    channel = configured_channel(settings)
    if channel == "csv":
        raise BadInput(
            gettext(
                "The desk has no mail server: whoever runs it sets RETENTION_SMTP_URL or "
                "RETENTION_WEBHOOK_URL."
            )
        )
    return channel


class CampaignMisuse(Request):
    """List misused codes by direct message.

    A code is misused if it is used twice, by another customer or outside its validity.
    """

    kind = "campaign_misuse"
    title = gettext("Campaign misuse")
    queue = "interactive"
    deed = gettext("see who used which code")
    campaign_id: str


class CampaignCsv(Request):
    """Send a campaign's codes or call list. It goes to a direct message."""

    kind = "campaign_csv"
    title = gettext("Campaign file")
    queue = "interactive"
    deed = gettext("download coupon codes")
    campaign_id: str
    part: Literal["codes", "calls"] = "codes"


class CampaignMeasure(Request):
    """Measure a campaign's incremental profit with its hold-out group."""

    kind = "campaign_measure"
    title = gettext("Campaign measure")
    demo_queue = "interactive"  # as above: it estimates the next draft, too
    deed = gettext("measure a campaign")
    campaign_id: str


class CampaignDecide(Request):
    """Decide a test of variants, and send the winner to the rest."""

    kind = "campaign_decide"
    title = gettext("Campaign test")
    deed = gettext("measure a campaign")
    campaign_id: str


class CampaignLook(Anonymous):
    """Show interim results of a live campaign.

    The figures are always valid: early looks do not bias them.
    """

    kind = "campaign_look"
    title = gettext("Campaign look")
    role = "viewer"
    queue = "interactive"
    deed = gettext("see a campaign's figures")
    campaign_id: str
