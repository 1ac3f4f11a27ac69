"""Fixtures of the tests with a whole desk."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.playground_client import PlaygroundClient, demo


@pytest.fixture(scope="module")
def desk(tmp_path_factory: Any) -> Iterator[PlaygroundClient]:
    folder = tmp_path_factory.mktemp("demo")
    with demo(folder / "home", log=folder / "demo.log") as started:
        yield started
