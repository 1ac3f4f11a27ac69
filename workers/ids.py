"""Define the action, block and callback ids.

Templates use them as ``ids.NAME``, and handlers listen to the same names.
"""

# Buttons. Their values hold an id (and a version), never an amount.
CANCEL_JOB = "job.cancel"  # value: job id
RETRY_JOB = "job.retry"  # value: job id
DRAFT_CAMPAIGN = "campaign.draft"  # value: cohort id
COHORT_CSV = "cohort.csv"  # value: cohort id
EDIT_CAMPAIGN = "campaign.edit"  # value: campaign id:version
WIDEN_CAMPAIGN = "campaign.widen"
CHEAPER_CAMPAIGN = "campaign.cheaper"
SUBMIT_CAMPAIGN = "campaign.submit"
APPROVE_CAMPAIGN = "campaign.approve"
REJECT_CAMPAIGN = "campaign.reject"
STOP_CAMPAIGN = "campaign.stop"
CAMPAIGN_CSV = "campaign.csv"
CALL_LIST = "campaign.calls"
FORGET = "customer.forget"  # value: customer id; only admins see it
RETRAIN_MODEL = "model.retrain"  # value: job id of the model check
HOME_RUN = "home.run"  # value: a command line
# Value: a command line, which runs where the button is. A block with several adds ".2", ".3" …
RUN_COMMAND = "command.run"
# Value: useful or wrong|pseudonym|model version|as of. A menu, whose entries are the next two.
FEEDBACK = "feedback"
FEEDBACK_USEFUL = "feedback.useful"
FEEDBACK_WRONG = "feedback.wrong"
FEEDBACK_ITEM = "feedback.item"  # value: useful or wrong|job id|pseudonym|place on the list
SAVE_AUDIENCE = "audience.save"  # value: job id of the preview
AUDIENCE_SWEEP = "audience.sweep"  # value: name of the audience
AUDIENCE_DRAFT = "audience.draft"  # value: name of the audience
EDIT_AUDIENCE = "audience.edit"  # value: job id of the preview; `new`: a new audience
SCHEDULE_MENU = "schedule.menu"  # value: run, pause, resume or delete|number of the schedule

# Modals.
EDIT_VIEW = "campaign.edit.view"
REJECT_VIEW = "campaign.reject.view"
STOP_VIEW = "campaign.stop.view"
FEEDBACK_VIEW = "feedback.view"
AUDIENCE_VIEW = "audience.view"

# Event type of the metadata by which the sender finds its own posts.
POST_EVENT = "retention_post"
