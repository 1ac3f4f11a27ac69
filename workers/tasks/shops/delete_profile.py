"""Ask a mail platform again to delete the profiles of erased customers."""

from retention.connect.platforms import profile_deletion
from retention.db import Transaction
from retention.db.tables import Job
from workers import roles
from workers.requests import DeleteProfile
from workers.tasks.interface import Context, Outcome, Post


def run(request: DeleteProfile, context: Context) -> Outcome:
    """Ask once; the erasure's thread hears of the end, and an admin if the desk gives up."""
    deletion_id = request.deletion_id
    answer = profile_deletion.ask(context.database, deletion_id)

    def apply(session: Transaction) -> tuple[Post, ...]:
        row = profile_deletion.conclude(session, deletion_id, answer, context.requested_by)
        if row.state == profile_deletion.WAITING:
            return ()
        erasure = session.get_one(Job, row.job_id)
        key, thread = f"profile-deletion:{row.id}", f"job:{erasure.id}"
        channel, values = erasure.channel, {"name": row.name, "kind": row.kind, "code": answer[0]}
        if row.state == profile_deletion.BY_HAND:
            values["erased_at"] = row.created_at.isoformat()
            channel, thread = roles.an_admin(session, erasure.requested_by), ""
        return (Post("connect/profile_deletion", values, key, channel, thread or None),)

    return Outcome({"error": answer[0] or None}, apply=apply)
