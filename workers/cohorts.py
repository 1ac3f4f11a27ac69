"""Cohorts: what a sweep found, by the id that its buttons carry."""

from sqlalchemy.orm import Session

from retention.db.tables import Cohort
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext


def find(session: Session, settings: Settings, cohort_id: str) -> Cohort:
    """A cohort of this team.

    Raises
    ------
    BadInput
        There is none of that id, or none any more.
    """
    cohort = session.get(Cohort, cohort_id)
    if cohort is None or cohort.team_id != settings.team_id:
        raise BadInput(
            gettext(
                "There is no cohort {cohort_id!r} (any more); run `/retention sweep` for a "
                "fresh one."
            ).format(cohort_id=cohort_id)
        )
    return cohort
