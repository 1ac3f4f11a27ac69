"""A job that ends at once with a message and a file."""

from workers.tasks.interface import Attachment, Outcome, Post


def run(request, context):
    file = Attachment("week.csv", "text/csv", b"customer,code\n1,ABC\n", sensitive=True)
    return Outcome(
        {"ok": True},
        (
            Post("job/refused", {"sentence": f"digest {context.job_id}"}),
            Post("job/refused", {"sentence": "the file"}, channel=context.requested_by, file=file),
        ),
    )
