"""The buttons of a cohort: Download CSV (to the presser's direct message), Draft campaign from this cohort."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, confirm
from bot.services import Services
from retention.db.tables import Audit
from workers import ids, jobs
from workers.campaigns import find_cohort
from workers.requests import CampaignDraft, CohortCsv, Request


def register(app: App, services: Services) -> None:
    """Listen to the buttons."""

    @app.action(ids.COHORT_CSV)
    def download(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        request = CohortCsv(cohort_id=click.value)
        _submit(services, click, request, channel=click.user, action="cohort.download")

    @app.action(ids.DRAFT_CAMPAIGN)
    def draft(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        request = CampaignDraft(cohort_id=click.value)
        _submit(
            services, click, request, channel=click.channel or click.user, action="campaign.draft"
        )


def _submit(
    services: Services, click: Click, request: Request, *, channel: str, action: str
) -> None:
    """Queue a request about a cohort once, note who asked, and say where the result goes."""
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        cohort = find_cohort(session, services.settings, click.value)
        submission = jobs.submit(
            session,
            services.settings,
            request,
            requested_by=click.user,
            channel=channel,
            idem_key=click.key,
        )
        session.add(
            Audit(
                team_id=services.settings.team_id,
                actor=click.user,
                action=action,
                subject=cohort.id,
                details={"job": submission.job.id},
            )
        )
    confirm(services, click, submission, private=channel == click.user)
