"""Train real but simple models that stop where the test says.

This folder is on the PYTHONPATH of workers under test. The folder ``TRAINING_FAULTS`` holds the
script. A file ``block-before-KIND`` or ``block-after-KIND`` stops training there. ``blocked`` then
shows that it stands, and ``trained`` has one line for each training that began.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from dataclasses import replace
from functools import wraps
from pathlib import Path

MODULE = "retention.registry.retrain"
MODELS = {"churn": "logistic", "recommend": "popular"}


def _wrapped(kind, train):
    folder = Path(os.environ["TRAINING_FAULTS"])

    def block(moment: str) -> None:
        if (folder / f"block-{moment}-{kind}").exists():
            (folder / "blocked").touch()
            time.sleep(600)

    @wraps(train)
    def run(settings, lake, champion, asked, progress):
        with (folder / "trained").open("a", encoding="ascii") as log:
            log.write(f"{kind}\n")
        block("before")
        trained = train(settings, lake, champion, replace(asked, model=MODELS[kind]), progress)
        block("after")
        return trained

    return run


class _Loader(importlib.abc.Loader):
    def __init__(self, real):
        self._real = real

    def create_module(self, spec):
        return self._real.create_module(spec)

    def exec_module(self, module):
        self._real.exec_module(module)
        for kind in MODELS:
            setattr(module, kind, _wrapped(kind, getattr(module, kind)))


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        spec.loader = _Loader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
