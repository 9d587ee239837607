"""What is translated once for a shape is what the release would have said of each statement."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import bqemulator.jobs.executor as executor
import pytest
from bqemulator.sql.catalog_schema import build_catalog_schema
from bqemulator.sql.table_rewriter import rewrite_table_refs
from bqemulator.sql.translator import SQLTranslator

from deployments.local.bigquery_emulator.shapes import (
    Shape,
    Translations,
    classified_once,
    columns_by_shape,
    tables_of,
    unguarded,
)

STATEMENTS = (
    "SELECT COUNT(*) AS n, AVG(price) AS mean FROM `{p}.{d}.{t}` WHERE day IN UNNEST(@days)",
    "SELECT T.id FROM `{p}.{d}.{t}` T JOIN `{p}.{d}.{t}_old` S ON T.id = S.id AND S.name = '`x.y.z`'",
    "MERGE `{p}.{d}.{t}` T USING `{p}.{d}.{t}_old` S ON FALSE WHEN NOT MATCHED BY SOURCE AND T.day IN UNNEST(@days) "
    "THEN DELETE WHEN NOT MATCHED BY TARGET THEN INSERT (day, id) VALUES (day, id)",
    "INSERT INTO `{p}.{d}.{t}` (id) SELECT id FROM `{p}.{d}.{t}_old` ORDER BY id LIMIT 3",
    "CREATE TABLE `{p}.{d}.{t}` AS SELECT 1 / 2 AS half, SAFE_DIVIDE(1, 0) AS none",
    "CREATE OR REPLACE VIEW `{p}.{d}.{t}` OPTIONS(description='games, it\\'s over games_old') AS "
    "SELECT id FROM `{p}.{d}.{t}_old`",
)
NAMES = ({"p": "one", "d": "d1", "t": "games"}, {"p": "gapless-local", "d": "set_2", "t": "stg_games_0a1b"})
COLUMNS = {"id": "BIGINT", "day": "DATE", "name": "VARCHAR", "price": "DECIMAL(38, 9)"}


class Counted:
    """A released function, with the texts that it was asked."""

    def __init__(self, released: Any) -> None:
        self._released, self.asked = released, []

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.asked.append(next(one for one in given if isinstance(one, str)))
        return self._released(*given, **named)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_shape_is_translated_once_and_every_statement_of_it_as_released(statement: str) -> None:
    translator, translations = SQLTranslator(), Translations()
    translate, qualify = Counted(SQLTranslator.translate), Counted(rewrite_table_refs)
    ours, qualified = translations.translate(translate), translations.qualify(qualify)
    for names in NAMES:
        sql = statement.format(**names)
        schema = {table: COLUMNS for table in (names["t"], f"{names['t']}_old") if f".{table}`" in sql}
        released = SQLTranslator.translate(translator, sql, schema=schema).value

        assert ours(translator, sql, schema=schema).value == released
        assert qualified(released, names["p"]) == rewrite_table_refs(released, names["p"])

    assert len(translate.asked) == 1


def test_other_types_of_the_same_columns_are_another_shape() -> None:
    translate = Counted(SQLTranslator.translate)
    ours, translator = Translations().translate(translate), SQLTranslator()
    sql = "SELECT AVG(price) AS mean FROM `p.d.t`"
    for kind in ("DOUBLE", "DECIMAL(38, 9)", "DOUBLE"):
        schema = {"t": {"price": kind}}
        assert (
            ours(translator, sql, schema=schema).value == SQLTranslator.translate(translator, sql, schema=schema).value
        )

    assert len(translate.asked) == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT games.id FROM `p.d.games`",
        "SELECT id FROM `p.d.games` WHERE name = 'Games'",
        "CREATE VIEW `p.d.games` OPTIONS(description='') AS SELECT games.id FROM `p.d.old`",
        "SELECT id FROM `P.d.Games`",
        "SELECT id FROM d.games",
        "SELECT gapless_t0 FROM `p.d.games`",
    ],
)
def test_a_statement_whose_names_cannot_be_told_apart_has_no_shape(sql: str) -> None:
    assert Shape.of(sql) is None


def test_what_the_translator_refuses_is_refused_under_its_own_names() -> None:
    refused = Translations().translate(SQLTranslator.translate)(SQLTranslator(), "SELECT FROM WHERE `p.d.games`")

    assert refused.is_err()
    assert "gapless_" not in str(refused.error)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_is_classified_by_its_shape(statement: str) -> None:
    classify = classified_once(executor.classify_statement_type)

    for names in NAMES:
        sql = statement.format(**names)
        assert classify(sql) == executor.classify_statement_type(sql)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_tables_of_a_statement_are_those_that_it_names(statement: str) -> None:
    for names in NAMES:
        sql = statement.format(**names)
        named = [names["t"], *([f"{names['t']}_old"] if f"{names['t']}_old`" in sql else [])]
        assert tables_of(sql) == [(names["p"], names["d"], table) for table in named]


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "SELECT id FROM `p.d.games` JOIN d.teams USING (id)", "SELECT FROM WHERE `p.d.games`"]
)
def test_a_statement_that_names_tables_in_other_ways_is_read_as_released(sql: str) -> None:
    assert tables_of(sql) is None


def test_a_table_of_a_with_is_none_of_the_catalog() -> None:
    assert tables_of("WITH found AS (SELECT id FROM `p.d.games`) SELECT id FROM found") == [("p", "d", "games")]


class Catalog:
    """Tables by their paths, and those with a policy."""

    def __init__(self, tables: dict[tuple[str, str, str], Any], guarded: tuple[tuple[str, str, str], ...] = ()) -> None:
        self._tables, self._guarded = tables, guarded

    def get_table(self, *path: str) -> Any:
        return self._tables.get(path)

    def list_row_access_policies(self, *path: str) -> list[str]:
        return ["policy"] if path in self._guarded else []


def _table(kind: str = "TABLE", **columns: str) -> Any:
    fields = [SimpleNamespace(name=name, type=column) for name, column in columns.items()]
    return SimpleNamespace(table_type=kind, schema_=SimpleNamespace(fields=fields))


@pytest.mark.parametrize("statement", STATEMENTS)
def test_columns_of_the_tables_are_as_released(statement: str) -> None:
    for names in NAMES:
        paths = [(names["p"], names["d"], table) for table in (names["t"], f"{names['t']}_old")]
        catalog = Catalog(dict.fromkeys(paths, _table(id="INTEGER", day="DATE", place="GEOGRAPHY", price="NUMERIC")))
        given = {"project_id": names["p"], "catalog": catalog}
        sql = statement.format(**names)
        assert columns_by_shape(build_catalog_schema)(sql, **given) == build_catalog_schema(sql, **given)


@pytest.mark.parametrize(
    ("catalog", "is_asked"),
    [
        (Catalog({("p", "d", "games"): _table()}), False),
        (Catalog({}), False),
        (Catalog({("p", "d", "games"): _table("VIEW")}), True),
        (Catalog({("p", "d", "games"): _table()}, (("p", "d", "games"),)), True),
    ],
    ids=["table", "unknown", "view", "policy"],
)
def test_views_and_tables_with_a_policy_are_rewritten_as_released(catalog: Catalog, is_asked: bool) -> None:
    asked: list[str] = []
    rewrite = unguarded(lambda sql, **_: asked.append(sql) or "rewritten")
    sql = "SELECT id FROM `p.d.games`"

    assert rewrite(sql, catalog=catalog, project_id="p", caller=None) == ("rewritten" if is_asked else sql)
    assert bool(asked) is is_asked
