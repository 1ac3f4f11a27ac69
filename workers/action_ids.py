"""Define the action, block and callback ids.

Templates use them as ``ids.NAME``, and handlers listen to the same names.
"""

from dataclasses import dataclass

from retention.text import gettext
from workers import action_ids

# Buttons. Their values hold an id (and a version), never an amount.
CANCEL_JOB = "job.cancel"  # value: job id
RETRY_JOB = "job.retry"  # value: job id
DRAFT_CAMPAIGN = "campaign.draft"  # value: cohort id
COHORT_CSV = "cohort.csv"  # value: cohort id
COHORT_DETAILS = "cohort.details"  # value: cohort id
OPEN_CUSTOMER = "customer.open"  # option: pseudonym|cohort id
EDIT_CAMPAIGN = "campaign.edit"  # value: campaign id:version
WIDEN_CAMPAIGN = "campaign.widen"
CHEAPER_CAMPAIGN = "campaign.cheaper"
SUBMIT_CAMPAIGN = "campaign.submit"
APPROVE_CAMPAIGN = "campaign.approve"
REJECT_CAMPAIGN = "campaign.reject"
STOP_CAMPAIGN = "campaign.stop"
CAMPAIGN_CSV = "campaign.csv"
CLOSE_CHAT = "service.close"  # value: id of the chat
CALL_LIST = "campaign.calls"
CALL_OWNER = "campaign.call_owner"  # of the select below a submitted campaign; read by Approve
CARD_CALL = "customer.call"  # value of the buttons of a card: its job id
CARD_PAUSE = "customer.pause"  # value: pause or resume|job id
CARD_NOTE = "customer.note"
CARD_MORE = "customer.more"  # option: draft, details, useful or wrong|job id
OPEN_CALL = "call.open"  # option: campaign id|pseudonym
CAMPAIGN_MENU = "campaign.menu"  # value: deed|campaign id:version
PREVIEW_EMAIL = "campaign.preview"  # value: campaign id:version
FOLLOW_UP = "campaign.follow_up"  # value: campaign id:version:what to draft next
PREVIEW_COPY = "campaign.copy.preview"  # in a modal; value: campaign id:version
SEND_TO_ME = "campaign.copy.send"  # in a modal; value: campaign id:version
FORGET = "customer.forget"  # value: customer id; only admins see it
RETRAIN_MODEL = "model.retrain"  # value: job id of the model check
HOME_RUN = "home.run"  # value: a command line
# Value: a command line; runs where the button is. A block with several adds ".2", ".3" …
RUN_COMMAND = "command.run"
OPEN_APPROVALS = "desk.approvals"  # no value
OPEN_CAMPAIGN = "desk.campaign"  # value: campaign id
DESK_APPROVE = "desk.approve"  # value: campaign id:version; in a window or App Home
DIGEST_SETTINGS = "digest.settings"  # no value; of the channel
OPEN_BUILDER = "builder.open"  # value: a group of tasks, or empty
BUILDER_TASK = "builder.task"  # the list of commands
BUILDER_START = "builder.start"  # value: alert or weekly|name of the audience; opens the window
BUILDER_FIELD = "builder.field"  # an option of the chosen command
# Value: useful or wrong|pseudonym|model version|as of. A menu, whose entries are the next two.
FEEDBACK = "feedback"
FEEDBACK_USEFUL = "feedback.useful"
FEEDBACK_WRONG = "feedback.wrong"
FEEDBACK_ITEM = "feedback.item"  # value: useful or wrong|job id|pseudonym|place on the list
SAVE_AUDIENCE = "audience.save"  # value: job id of the preview
AUDIENCE_SWEEP = "audience.sweep"  # value: name of the audience
AUDIENCE_DRAFT = "audience.draft"  # value: kind of campaign|name of the audience
EDIT_AUDIENCE = "audience.edit"  # value: job id of the preview; `new`: a new audience
AUDIENCE_FIELD = "audience.build"  # of the builder's selects, followed by the name of the input
AUDIENCE_ROW = "audience.row"  # one more row of the builder
AUDIENCE_BACK = "audience.back"  # from the count to the rows
SCHEDULE_MENU = "schedule.menu"  # value: run, pause, resume or delete|number of the schedule
ALERT_MENU = "alert.menu"  # value: test, snooze, mute, unmute or delete|name of the alert
ALERT_TEST = "alert.test"  # value: name of the alert
ALERT_ON = "alert.on"  # value: name of the alert
SOURCE_MENU = "source.menu"  # value: run, pause or resume|name of the source
SOURCE_ACCEPT = "source.accept"  # value: name of a source that shrank
CHANGE_POLICY = "policy.change"  # no value
FILE_TABLE = "file.table"  # the table of a dropped file; value: table|file id
FILE_IMPORT = "file.import"  # value: job id of the proposal
FILE_CANCEL = "file.cancel"  # value: job id of the proposal

# Value: a signed command line and the thread it was asked in (`bot.slack.conversation.sealed`).
ASK_RUN = "ask.run"
ASK_DECLINE = "ask.decline"
ASK_HEARD = "ask.heard"  # value: job id of the voice message
ASK_ALTERNATIVE = "ask.alternative."  # and the number of the button

# Shortcuts. A message shortcut and a global one need different callback ids.
WHY_MESSAGE, WHY_GLOBAL = "shortcut.why.message", "shortcut.why"
DRAFT_MESSAGE, DRAFT_GLOBAL = "shortcut.draft.message", "shortcut.draft"
WHY_VIEW = "shortcut.why.view"
DRAFT_VIEW = "shortcut.draft.view"

# Modals.
EDIT_VIEW = "campaign.edit.view"
REJECT_VIEW = "campaign.reject.view"
STOP_VIEW = "campaign.stop.view"
COPY_VIEW = "campaign.copy.view"
FEEDBACK_VIEW = "feedback.view"
NOTE_VIEW = "customer.note.view"
CALL_VIEW = "call.view"
APPROVALS_VIEW = "desk.approvals.view"
DIGEST_VIEW = "digest.view"  # private metadata: channel
BUILDER_VIEW = "builder.view"  # private metadata: JSON of the place and the answer's address
AUDIENCE_VIEW = "audience.view"
POLICY_VIEW = "policy.view"  # private metadata: version of the policy
AUDIENCE_SAVE_VIEW = "audience.save.view"

# Event type of the metadata by which the sender finds its own posts.
POST_EVENT = "retention_post"


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A shortcut of Slack's menus.

    ``kind`` is ``message`` (in a message's menu) or ``global`` (in the composer and the search).
    """

    name: str  # at most 24 characters
    description: str
    kind: str
    callback_id: str


_WHY, _DRAFT = gettext("Why at risk?"), gettext("Draft from this list")
_WHY_HELP = gettext("Why is this customer at risk?")
_DRAFT_HELP = gettext("Draft a campaign for the customers of a list.")

SHORTCUTS = (
    Shortcut(_WHY, _WHY_HELP, "message", action_ids.WHY_MESSAGE),
    Shortcut(_DRAFT, _DRAFT_HELP, "message", action_ids.DRAFT_MESSAGE),
    Shortcut(_WHY, _WHY_HELP, "global", action_ids.WHY_GLOBAL),
    Shortcut(_DRAFT, _DRAFT_HELP, "global", action_ids.DRAFT_GLOBAL),
)
