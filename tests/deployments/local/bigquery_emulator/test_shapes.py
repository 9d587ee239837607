"""What is translated once for a shape is what the release would have said of each statement."""

from __future__ import annotations

from typing import Any

import bqemulator.jobs.executor as executor
import pytest
from bqemulator.sql.table_rewriter import rewrite_table_refs
from bqemulator.sql.translator import SQLTranslator

from deployments.local.bigquery_emulator.shapes import Shape, Translations, classified_once

STATEMENTS = (
    "SELECT COUNT(*) AS n, AVG(price) AS mean FROM `{p}.{d}.{t}` WHERE day IN UNNEST(@days)",
    "SELECT T.id FROM `{p}.{d}.{t}` T JOIN `{p}.{d}.{t}_old` S ON T.id = S.id AND S.name = '`x.y.z`'",
    "MERGE `{p}.{d}.{t}` T USING `{p}.{d}.{t}_old` S ON FALSE WHEN NOT MATCHED BY SOURCE AND T.day IN UNNEST(@days) "
    "THEN DELETE WHEN NOT MATCHED BY TARGET THEN INSERT (day, id) VALUES (day, id)",
    "INSERT INTO `{p}.{d}.{t}` (id) SELECT id FROM `{p}.{d}.{t}_old` ORDER BY id LIMIT 3",
    "CREATE TABLE `{p}.{d}.{t}` AS SELECT 1 / 2 AS half, SAFE_DIVIDE(1, 0) AS none",
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
