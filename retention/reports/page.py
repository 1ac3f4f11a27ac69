"""Base of reports that are also pages: picture and HTML follow from the data alone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from retention import templating
from retention.reports.charts import Chart
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Page(ABC):
    """``data`` is the JSON object for templates and ``--json``; ``template`` is the page's template."""

    template: ClassVar[str]
    data: dict[str, Any]

    @property
    @abstractmethod
    def chart(self) -> Chart:
        """The report's picture."""

    def html(self, settings: Settings) -> str:
        """Return one self-contained page without scripts or external files."""
        chart = self.chart
        return templating.html(
            self.template,
            **self.data,
            chart=chart.url,
            alt_text=chart.alt_text,
            zone=settings.timezone,
        )
