"""Define all SQL tables.

SQL holds small state with many writers; the lake holds large data. All tables except slack_sdk's
have a ``team_id``. Times are UTC. Times of leases and deliveries are real time, and times of
campaigns and schedules are business time.
"""

from retention.db.tables.access import (
    SLACK_BOTS,
    SLACK_INSTALLATIONS,
    SLACK_STATES,
    Audit,
    Erasure,
    Language,
    RoleGrant,
)
from retention.db.tables.alerts import Alert, AlertFiring, ProgrammeHoldout
from retention.db.tables.audiences import Audience
from retention.db.tables.base import Base, Utc
from retention.db.tables.campaigns import (
    Approval,
    Assignment,
    Campaign,
    CampaignEditor,
    CampaignVersion,
    Coupon,
)
from retention.db.tables.care import CallEntry, Note, Pause
from retention.db.tables.connect import (
    Connection,
    EventBatch,
    EventKey,
    LiveFiring,
    LiveScore,
    LiveSender,
    ProfileDeletion,
)
from retention.db.tables.data import (
    ChurnDefinition,
    Cohort,
    DirectoryEntry,
    ImportLog,
    ModelHealth,
    ModelVersion,
    PlaceList,
)
from retention.db.tables.delivery import Delivery, File, Outbox, StoredClick, Thread
from retention.db.tables.feedback import Feedback, Impression
from retention.db.tables.outreach import Redemption, Send, Suppression
from retention.db.tables.profiles import ApiKey, AudienceMember, Profile, ProfileSnapshot
from retention.db.tables.shop_codes import ShopCode, ShopDiscount
from retention.db.tables.sources import Source, SourceRun
from retention.db.tables.webhooks import CancelledOrder, Webhook
from retention.db.tables.work import BusinessClock, Job, JobJoin, Process, Run, Schedule, Slot

__all__ = [
    "SLACK_BOTS",
    "SLACK_INSTALLATIONS",
    "SLACK_STATES",
    "Alert",
    "AlertFiring",
    "ApiKey",
    "Approval",
    "Assignment",
    "Audience",
    "AudienceMember",
    "Audit",
    "Base",
    "BusinessClock",
    "CallEntry",
    "Campaign",
    "CampaignEditor",
    "CampaignVersion",
    "CancelledOrder",
    "ChurnDefinition",
    "Cohort",
    "Connection",
    "Coupon",
    "Delivery",
    "DirectoryEntry",
    "Erasure",
    "EventBatch",
    "EventKey",
    "Feedback",
    "File",
    "ImportLog",
    "Impression",
    "Job",
    "JobJoin",
    "Language",
    "LiveFiring",
    "LiveScore",
    "LiveSender",
    "ModelHealth",
    "ModelVersion",
    "Note",
    "Outbox",
    "Pause",
    "PlaceList",
    "Process",
    "Profile",
    "ProfileDeletion",
    "ProfileSnapshot",
    "ProgrammeHoldout",
    "Redemption",
    "RoleGrant",
    "Run",
    "Schedule",
    "Send",
    "ShopCode",
    "ShopDiscount",
    "Slot",
    "Source",
    "SourceRun",
    "StoredClick",
    "Suppression",
    "Thread",
    "Utc",
    "Webhook",
]
