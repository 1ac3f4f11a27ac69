"""A report that is also a page: its picture and its HTML follow from its data alone."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from retention import templating
from retention.reports.charts import Chart
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Page(ABC):
    """``data`` is the JSON object that templates and ``--json`` show; ``template`` is the page's."""

    template: ClassVar[str]
    data: dict[str, Any]

    @property
    @abstractmethod
    def chart(self) -> Chart:
        """The report's one picture."""

    def html(self, settings: Settings) -> str:
        """One self-contained page: no script, nothing loaded from elsewhere."""
        chart = self.chart
        return templating.html(
            self.template,
            **self.data,
            chart=chart.url,
            alt_text=chart.alt_text,
            zone=settings.timezone,
        )
