"""Compare what one test can leave to the next in its process, and put it back."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Set by pytest for each phase of a test, and by scikit-learn and polars at their first import.
NOT_COMPARED = (
    "PYTEST_CURRENT_TEST",
    "KMP_INIT_AT_FORK",
    "KMP_DUPLICATE_LIB_OK",
    "_RJEM_MALLOC_CONF",
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore the state of the process at the end of the block, and fail where it was changed.

    Raises
    ------
    AssertionError
        The message names each part that was changed, with the old and the new value where they are
        short.
    """
    before = {name: read() for name, (read, _) in PARTS.items()}
    yield
    changes = []
    for name, (read, restore) in PARTS.items():
        after = read()
        if before[name] is not None and after != before[name]:
            restore(before[name])
            changes.append(f"{name}: {_difference(before[name], after)}")
    if changes:
        raise AssertionError(
            "This test changes its process for the tests after it. "
            "Use monkeypatch, or restore it in the test. " + "; ".join(changes)
        )


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict):
        keys = sorted(
            str(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        )  # no values: the environment may hold secrets
        return ", ".join(keys)
    return f"{before!r} became {after!r}"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in NOT_COMPARED}


def _set_environment(values: dict[str, str]) -> None:
    for name in _environment().keys() - values.keys():
        del os.environ[name]
    os.environ.update(values)


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "(deleted)"


def _handlers() -> list[logging.Handler]:
    """Handlers of the root logger but pytest's own, which come and go with each phase of a test."""
    return [
        handler
        for handler in logging.getLogger().handlers
        if not type(handler).__module__.startswith("_pytest.")
    ]


def _set_handlers(handlers: list[logging.Handler]) -> None:
    root = logging.getLogger()
    for handler in _handlers():
        if handler not in handlers:
            root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)


def _signals() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in SIGNALS}


def _set_signals(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _plot_settings() -> dict[str, Any] | None:
    """Matplotlib's parameters; None before it is imported."""
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is None or not hasattr(matplotlib, "rcParams"):
        return None
    return dict(dict.items(matplotlib.rcParams))


def _set_plot_settings(values: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters that are deprecated
        dict.update(sys.modules["matplotlib"].rcParams, values)


def _figures() -> list[int]:
    """Open figures of pyplot."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    return sorted(helpers.Gcf.figs) if helpers else []


def _close_figures(_before: list[int]) -> None:
    sys.modules["matplotlib._pylab_helpers"].Gcf.destroy_all()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# What is compared, each with how to read it and how to put it back.
PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "environment": (_environment, _set_environment),
    "working directory": (_folder, os.chdir),
    "umask": (_umask, os.umask),
    "sys.path": (lambda: list(sys.path), lambda paths: sys.path.__setitem__(slice(None), paths)),
    "root log level": (
        lambda: logging.getLogger().level,
        lambda level: logging.getLogger().setLevel(level),
    ),
    "root log handlers": (_handlers, _set_handlers),
    "logging.disable": (lambda: logging.root.manager.disable, logging.disable),
    "signal handlers": (_signals, _set_signals),
    "numpy errors": (np.geterr, lambda values: np.seterr(**values)),
    "matplotlib parameters": (_plot_settings, _set_plot_settings),
    "matplotlib figures": (_figures, _close_figures),
}
