"""Report of an import."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Count the outcomes of an import's rows.

    ``rows_read`` is the sum of filtered, accepted, duplicate and quarantined rows.
    """

    table: str
    rows_read: int
    rows_filtered: int
    rows_accepted: int
    rows_duplicate: int
    rows_quarantined: int
    quarantine: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by code."""
    quarantine_path: str | None = None
    seconds: float = 0.0
    files: tuple[dict[str, Any], ...] = ()
    """Per file: rows, detected format, and short hashes of contents and map."""
    quarantine_text: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by sentence."""

    mended: dict[str, int] = field(default_factory=dict)
    """Rows that were corrected, by correction."""

    rows_equal: int = 0
    """Duplicates of another event of the same import."""

    linked: dict[str, Any] = field(default_factory=dict)
    """Result of identity linking after a customer import (`identity.exact.Linked`)."""

    redemptions: dict[str, int] = field(default_factory=dict)
    """Outcomes of imported coupon codes (`retention.campaigns.redemptions.OUTCOMES`)."""

    bounces: dict[str, int] = field(default_factory=dict)
    """Outcomes of imported bounces (`retention.outreach.bounces.bounced`)."""

    timezone: str = ""
    """Time zone of the map if the installation has none; features then use UTC."""

    before: str = ""
    """Day on which the same file was read with another map; its events count twice now."""

    lake: str = ""
    """Lake state after the import (`directory.state`); empty without a database."""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the report."""
        return asdict(self) | {"files": [*self.files]}
