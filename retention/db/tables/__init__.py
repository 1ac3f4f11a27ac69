"""Define all SQL tables.

SQL holds small state with many writers; the lake holds large data. All tables except slack_sdk's
have a ``team_id``. Times are UTC. Times of leases and deliveries are real time, and times of
campaigns and schedules are business time.
"""
# ruff: noqa: F403 - each module defines tables only

from retention.db.tables.access import *
from retention.db.tables.base import *
from retention.db.tables.campaigns import *
from retention.db.tables.care import *
from retention.db.tables.connect import *
from retention.db.tables.data import *
from retention.db.tables.service import *
from retention.db.tables.work import *
