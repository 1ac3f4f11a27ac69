"""What an import came to."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import read, and what became of every row: read = filtered + accepted + duplicate + quarantined."""

    table: str
    rows_read: int
    rows_filtered: int
    rows_accepted: int
    rows_duplicate: int
    rows_quarantined: int
    quarantine: dict[str, int] = field(default_factory=dict)
    quarantine_path: str | None = None
    seconds: float = 0.0
    files: tuple[dict[str, Any], ...] = ()
    """What was seen of each file: its rows, and how it is written; a stamp of its contents, and one of the map."""
    mended: dict[str, int] = field(default_factory=dict)
    """Rows that came in changed, by what was done."""

    rows_equal: int = 0
    """Events among the duplicates that equal another one of the same import: told twice, or two that nothing tells apart."""

    linked: dict[str, Any] = field(default_factory=dict)
    """What linking came to, after customers were imported (`identity.exact.Linked`)."""

    redemptions: dict[str, int] = field(default_factory=dict)
    """What is to be thought of the codes, after redemptions were imported (`retention.campaigns.redemptions.outcome_text`)."""

    bounces: dict[str, int] = field(default_factory=dict)
    """What became of the copies, after bounces were imported (`retention.outreach.bounces.mark_bounced`)."""

    timezone: str = ""
    """The zone of the map's times, where the installation has named none: weekdays and hours are then by UTC."""

    before: str = ""
    """The day on which a file of the same contents was read by another map: its events count twice now."""

    lake: str = ""
    """Which state of the lake it left (`directory.state`); empty where no database keeps the log."""

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON object, and ``files``."""
        return asdict(self) | {"files": [*self.files]}
