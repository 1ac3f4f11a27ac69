"""A plugin for pytest: rows without ORDER BY come in another order than usual.

It finds tests and code that rely on an order which no database promises::

    python -m pytest -p tests.any_order tests/workers/campaigns
"""

import sqlite3
from typing import Any

import ibis.expr.operations as ops
import numpy as np
from ibis.backends.duckdb import Backend
from sqlalchemy import event
from sqlalchemy.engine import Engine

KEEP_ORDER = (ops.Project, ops.Filter, ops.Limit, ops.DropColumns)
_rng = np.random.default_rng(1)
_relation = Backend._to_duckdb_relation


@event.listens_for(Engine, "connect")
def _reverse(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA reverse_unordered_selects = ON")


class _Shuffled:
    def __init__(self, relation: Any) -> None:
        self._relation = relation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._relation, name)

    def to_arrow_table(self) -> Any:
        table = self._relation.to_arrow_table()
        return table.take(_rng.permutation(table.num_rows)) if table.num_columns else table


def _shuffled(backend: Backend, expression: Any, **options: Any) -> Any:
    relation = _relation(backend, expression, **options)
    operation = expression.as_table().op()
    while isinstance(operation, KEEP_ORDER):
        operation = operation.parent
    return relation if isinstance(operation, ops.Sort) else _Shuffled(relation)


Backend._to_duckdb_relation = _shuffled
