"""How a step of a connector fails."""

from collections.abc import Callable
from typing import Any

import pytest

from retention.connect.contract import ConnectorError
from retention.connect.sources.source_records import SourceProblem


def failure(step: Callable[[], Any]) -> Any:
    """Return the error that a step ends with."""
    with pytest.raises((ConnectorError, SourceProblem)) as caught:
        step()
    return caught.value
