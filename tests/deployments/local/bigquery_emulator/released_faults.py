"""The faults of bqemulator as released that our patches mend: each with a probe that tells whether it is there."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import anyio.to_thread
import duckdb
import pyarrow
import pyarrow.parquet
import sqlglot
from bqemulator.catalog import ddl_sync
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.config import PersistenceMode
from bqemulator.jobs import executor
from bqemulator.storage.engine import DuckDBEngine
from emulator_in_process import PROJECT, Answer, Emulator, fields_of
from sqlglot.dialects.dialect import Dialect

DAY, ID, NAME = ("day", "DATE"), ("id", "INTEGER"), ("name", "STRING")
BY_DAY = {"timePartitioning": {"type": "DAY", "field": "day"}}
Probe = Callable[[Emulator], bool]


@dataclass(frozen=True)
class Fault:
    """A sentence of bigquery_emulator/README.md, and whether an emulator has the fault."""

    patch: str
    sentence: str
    is_there: Probe


FAULTS: list[Fault] = []


def fault(patch: str, sentence: str) -> Callable[[Probe], Probe]:
    def register(probe: Probe) -> Probe:
        FAULTS.append(Fault(patch, sentence, probe))
        return probe

    return register


def ndjson(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# answering


@fault("answering", "A request passes three middlewares for what is switched off here.")
def _(emulator: Emulator) -> bool:
    return "x-correlation-id" in emulator.query("SELECT 1").headers


@fault("answering", "A request asks two threads for what is at hand.")
def _(emulator: Emulator) -> bool:
    asked: list[str] = []
    run_sync = anyio.to_thread.run_sync
    with mock.patch.object(
        anyio.to_thread, "run_sync", lambda *work, **how: asked.append("") or run_sync(*work, **how)
    ):
        assert emulator.query("SELECT 1").is_good
    return bool(asked)


# engine


@fault("engine", "The start downloads DuckDB's extension for GEOGRAPHY, and ends without a network.")
def _(emulator: Emulator) -> bool:
    asked: list[str] = []
    DuckDBEngine._load_spatial(SimpleNamespace(_connection=SimpleNamespace(execute=asked.append)))
    return "INSTALL spatial" in asked


@fault("engine", "Every write copies its table, for time travel.")
def _(emulator: Emulator) -> bool:
    def copies() -> int:
        found = emulator.engine.execute("SELECT count(*) FROM duckdb_tables() WHERE schema_name LIKE '%snapshots'")
        return int(found.fetchone()[0])

    table = emulator.table_of(ID)
    before = emulator.on_loop(copies)
    emulator.query(f"INSERT INTO d.{table} (id) VALUES (1)")
    return bool(emulator.on_loop(copies) > before)


@fault("engine", "A listing of rows reads what a running job has not committed.")
def _(emulator: Emulator) -> bool:
    seen: list[Any] = []
    engine, table = emulator.engine, emulator.new_name()

    def list_rows() -> None:
        with contextlib.suppress(duckdb.CatalogException):  # a table that is not committed is not there
            seen.extend(engine.execute(f"SELECT id FROM {table}").fetchall())

    def half_a_job() -> None:
        engine.execute("BEGIN TRANSACTION")
        engine.execute(f"CREATE TABLE {table} AS SELECT 1 AS id")
        # The name that FastAPI's threads have.
        thread = threading.Thread(target=list_rows, name="AnyIO worker thread")
        thread.start()
        thread.join()
        engine.execute("ROLLBACK")

    emulator.on_loop(half_a_job)
    return bool(seen)


# records


@fault("records", "The record of a job is written again when it is there already.")
def _(emulator: Emulator) -> bool:
    job_id, written = emulator.new_name(), []
    emulator.query("SELECT 1", job_id)
    released = emulator.engine.execute

    def write_again() -> None:
        job = emulator.catalog.get_job(PROJECT, job_id)
        with mock.patch.object(emulator.engine, "execute", lambda *sql: written.append(sql) or released(*sql)):
            emulator.catalog.upsert_job(job)

    emulator.on_loop(write_again)
    return bool(written)


@fault("records", "A new record is written as one that may replace another.")
def _(emulator: Emulator) -> bool:
    written: list[str] = []
    released = emulator.engine.execute
    with mock.patch.object(emulator.engine, "execute", lambda *sql: written.append(sql[0]) or released(*sql)):
        emulator.table_of(ID)
        assert emulator.query("SELECT 1").is_good
    return any("OR REPLACE INTO" in sql for sql in written)


@fault("records", "A database in memory gets records that nobody reads.")
def _(emulator: Emulator) -> bool:
    written: list[str] = []
    job_id = emulator.new_name()
    emulator.query("SELECT 1", job_id)
    in_memory = SimpleNamespace(persistence_mode=PersistenceMode.EPHEMERAL)
    catalog = DuckDBCatalogRepository(SimpleNamespace(execute=lambda *sql: written.append(sql[0]), _settings=in_memory))
    catalog._write_job(emulator.catalog.get_job(PROJECT, job_id))
    return bool(written)


# parsing


@fault("parsing", "A `SELECT` is parsed seventeen times; here three times, for two dialects and one option.")
def _(emulator: Emulator) -> bool:
    sql, read = f"SELECT 1 AS {emulator.new_name()}", []
    tokenize = Dialect.tokenize

    def counted(self: Any, text: str) -> Any:
        read.append(text)
        return tokenize(self, text)

    with mock.patch.object(Dialect, "tokenize", counted):
        assert emulator.query(sql).is_good
    return read.count(sql) > 3


@fault("parsing", "A query is looked through for six kinds of DDL.")
def _(emulator: Emulator) -> bool:
    sql, read = f"SELECT 1 AS {emulator.new_name()}", []
    with mock.patch.object(sqlglot, "parse_one", lambda text, **_: read.append(text)):
        ddl_sync._detect_create_schema(sql, PROJECT)
    return bool(read)


@fault("parsing", "A query is read for the tables that it writes.")
def _(emulator: Emulator) -> bool:
    read: list[str] = []
    with mock.patch.object(sqlglot, "parse_one", lambda text, **_: read.append(text)):
        executor._reject_dml_on_immutable(PROJECT, "SELECT 1 AS n", None)
    return bool(read)


@fault("shapes", "A statement is translated anew when only the names of its tables differ.")
def _(emulator: Emulator) -> bool:
    translated: list[str] = []
    transpile = sqlglot.transpile
    with mock.patch.object(sqlglot, "transpile", lambda sql, **how: translated.append(sql) or transpile(sql, **how)):
        for table in (emulator.table_of(ID), emulator.table_of(ID)):
            assert emulator.query(f"SELECT id AS shape FROM `{PROJECT}.d.{table}`").is_good
    return len(translated) > 1


@fault("shapes", "A statement is read twice more for the tables that it names.")
def _(emulator: Emulator) -> bool:
    read: list[str] = []
    parse_one = sqlglot.parse_one
    with mock.patch.object(sqlglot, "parse_one", lambda sql, **how: read.append(sql) or parse_one(sql, **how)):
        for table in (emulator.table_of(ID), emulator.table_of(ID)):
            assert emulator.query(f"SELECT id AS tables FROM `{PROJECT}.d.{table}`").is_good
    return any(table in sql for sql in read)


# jobs


def upload(emulator: Emulator, job_id: str, media_type: str = "application/octet-stream") -> Answer:
    load = {
        "destinationTable": {"projectId": PROJECT, "datasetId": "d", "tableId": emulator.new_name()},
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
        "schema": {"fields": fields_of(ID)},
    }
    job = {"jobReference": {"projectId": PROJECT, "jobId": job_id}, "configuration": {"load": load}}
    head = (
        f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(job)}\r\n--b\r\nContent-Type: {media_type}\r\n\r\n"
    )
    return emulator.call(
        "POST",
        f"/upload/bigquery/v2/projects/{PROJECT}/jobs?uploadType=multipart",
        (head + '{"id": 1}\r\n--b--').encode(),
        Content_Type="multipart/related; boundary=b",
    )


@fault("jobs", "An upload forgets the id of its job.")
def _(emulator: Emulator) -> bool:
    job_id = emulator.new_name()
    return bool(upload(emulator, job_id).json["jobReference"]["jobId"] != job_id)


@fault("jobs", "An upload with the media type `*/*`, which Google's client sends, is refused.")
def _(emulator: Emulator) -> bool:
    return not upload(emulator, emulator.new_name(), "*/*").is_good


@fault("jobs", "A load runs again under an id that was used, and doubles the rows.")
def _(emulator: Emulator) -> bool:
    table, job_id, uri = emulator.table_of(ID), emulator.new_name(), emulator.put(ndjson({"id": 1}))
    for _ in range(2):
        emulator.load(table, uri, ID, job_id=job_id)
    return len(emulator.rows(table)) == 2


@fault("jobs", "A query runs again under an id that was used.")
def _(emulator: Emulator) -> bool:
    table, job_id = emulator.table_of(ID), emulator.new_name()
    for _ in range(2):
        emulator.query(f"INSERT INTO d.{table} (id) VALUES (1)", job_id)
    return len(emulator.rows(table)) == 2


def runs_twice(emulator: Emulator, kind: str, config: dict[str, Any]) -> bool:
    job_id = emulator.new_name()
    assert emulator.job(kind, config, job_id).is_good
    return emulator.job(kind, config, job_id).status != 409


@fault("jobs", "A copy runs again under an id that was used.")
def _(emulator: Emulator) -> bool:
    source, target = (
        {"projectId": PROJECT, "datasetId": "d", "tableId": name}
        for name in (emulator.table_of(ID), emulator.new_name())
    )
    return runs_twice(emulator, "copy", {"sourceTable": source, "destinationTable": target})


@fault("jobs", "An extract runs again under an id that was used.")
def _(emulator: Emulator) -> bool:
    source = {"projectId": PROJECT, "datasetId": "d", "tableId": emulator.table_of(ID)}
    uri = emulator.put("", emulator.new_name())
    return runs_twice(emulator, "extract", {"sourceTable": source, "destinationUris": [uri]})


@fault("jobs", "The id of a load that failed can be used again.")
def _(emulator: Emulator) -> bool:
    table, job_id = emulator.table_of(ID), emulator.new_name()
    emulator.load(table, "gs://b/nothing", ID, job_id=job_id)
    return emulator.load(table, emulator.put(ndjson({"id": 1})), ID, job_id=job_id).status != 409


@fault("jobs", "A page of another site reaches it: Host and Origin are not checked.")
def _(emulator: Emulator) -> bool:
    return emulator.call("GET", "datasets", Origin="http://elsewhere.example").is_good


# quota


@fault("quota", "No limit of BigQuery is kept, and none can be ordered for a test.")
def _(emulator: Emulator) -> bool:
    emulator.call("POST", "/gapless/quota", {"loads_per_table_per_day": 1})
    table, uri = emulator.table_of(ID), emulator.put(ndjson({"id": 1}))
    answers = [emulator.load(table, uri, ID) for _ in range(2)]
    emulator.call("DELETE", "/gapless/quota")
    return all(answer.is_good for answer in answers)


# load


@fault("load", "A load of which one object is missing keeps the rows of the others.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(ID)
    emulator.load(table, [emulator.put(ndjson({"id": 1})), "gs://b/nothing"], ID)
    return bool(emulator.rows(table))


@fault("load", "A load that fails leaves an empty table behind.")
def _(emulator: Emulator) -> bool:
    table = emulator.new_name()
    emulator.load(table, "gs://b/nothing", ID)
    return emulator.call("GET", f"datasets/d/tables/{table}").is_good


@fault("load", "A WRITE_TRUNCATE that fails has deleted the old rows.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(ID)
    emulator.load(table, emulator.put(ndjson({"id": 1})), ID)
    emulator.load(table, emulator.put("no json"), ID, writeDisposition="WRITE_TRUNCATE")
    return not emulator.rows(table)


@fault("load", "ALLOW_FIELD_ADDITION adds no column.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(ID)
    more = {"schemaUpdateOptions": ["ALLOW_FIELD_ADDITION"]}
    emulator.load(table, emulator.put(ndjson({"id": 1, "name": "x"})), ID, NAME, **more)
    return emulator.rows(table) != [["1", "x"]]


@fault("load", "A load into `table$20250101` does not replace that partition alone.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(DAY, ID, **BY_DAY)
    days = ("2025-01-01", "2025-01-02")
    emulator.load(table, emulator.put(ndjson(*({"day": day, "id": 1} for day in days))), DAY, ID)
    uri = emulator.put(ndjson({"day": days[0], "id": 2}))
    emulator.load(f"{table}$20250101", uri, DAY, ID, writeDisposition="WRITE_TRUNCATE")
    return sorted(emulator.rows(table)) != [[days[0], "2"], [days[1], "1"]]


@fault("load", "A load into more than 4,000 partitions is taken.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(DAY, ID, **BY_DAY)
    rows = [{"day": f"{2000 + n // 336}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}", "id": n} for n in range(4_001)]
    return emulator.load(table, emulator.put(ndjson(*rows)), DAY, ID).is_good


@fault("load", "A changed type of a column is taken.")
def _(emulator: Emulator) -> bool:
    return emulator.load(emulator.table_of(ID), emulator.put(ndjson({"id": "1"})), ("id", "STRING")).is_good


@fault("load", "`outputRows` counts the rows of the table, not of the load.")
def _(emulator: Emulator) -> bool:
    table, uri = emulator.table_of(ID), emulator.put(ndjson({"id": 1}))
    emulator.load(table, uri, ID)
    return bool(emulator.load(table, uri, ID).json["statistics"]["load"]["outputRows"] != "1")


# staging


@fault("staging", "A gzip object is known by its name alone.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(ID)
    emulator.load(table, emulator.put(gzip.compress(ndjson({"id": 1}).encode())), ID)
    return not emulator.rows(table)


@fault("staging", "A `*` in a URI does not cross folders.")
def _(emulator: Emulator) -> bool:
    table, folder = emulator.table_of(ID), emulator.new_name()
    emulator.put(ndjson({"id": 1}), f"{folder}/deeper/part-0")
    emulator.load(table, f"gs://b/{folder}/*", ID)
    return not emulator.rows(table)


def parquet_rows(emulator: Emulator, folder: str) -> list[list[Any]]:
    """What is loaded from a Parquet file whose columns are not in the order of the table."""
    table, name = emulator.table_of(ID, NAME), emulator.new_name()
    uri = emulator.put("", f"{name}/{folder}/part.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"name": ["x"], "id": [1]}), emulator.path_of(uri))
    emulator.load(table, uri, sourceFormat="PARQUET")
    return emulator.rows(table)


@fault("staging", "A folder named `dt=2025-01-01` becomes a column of its Parquet files.")
def _(emulator: Emulator) -> bool:
    return parquet_rows(emulator, "dt=2025-01-01") != [["1", "x"]]


@fault("staging", "Columns of a Parquet file go by their place, not by their name.")
def _(emulator: Emulator) -> bool:
    return parquet_rows(emulator, "plain") != [["1", "x"]]


def takes(emulator: Emulator, row: dict[str, Any], *fields: Any) -> bool:
    return emulator.load(emulator.table_of(*fields), emulator.put(ndjson(row)), *fields).is_good


@fault("staging", "A REQUIRED column takes null.")
def _(emulator: Emulator) -> bool:
    return takes(emulator, {"id": None, "name": "x"}, ("id", "INTEGER", "REQUIRED"), NAME)


@fault("staging", "A field that the schema does not have is dropped without a word.")
def _(emulator: Emulator) -> bool:
    return takes(emulator, {"id": 1, "other": 2}, ID)


@fault("staging", "1.5 is rounded for an INTEGER.")
def _(emulator: Emulator) -> bool:
    return takes(emulator, {"id": 1.5}, ID)


@fault("staging", "An object is taken for a STRING, as its text.")
def _(emulator: Emulator) -> bool:
    return takes(emulator, {"name": {"first": "x"}}, NAME)


@fault("staging", "A DATE is taken as `2025/01/03`.")
def _(emulator: Emulator) -> bool:
    return takes(emulator, {"day": "2025/01/03"}, DAY)


@fault("staging", "A TIMESTAMP is cut below microseconds, and a NUMERIC rounded to nine decimals.")
def _(emulator: Emulator) -> bool:
    return takes(emulator, {"at": "2025-01-03T12:34:56.7890123Z"}, ("at", "TIMESTAMP")) and takes(
        emulator, {"price": "0.1234567891"}, ("price", "NUMERIC")
    )


# contracts


@fault("contracts", "A job id may have any character, and labels any case.")
def _(emulator: Emulator) -> bool:
    config = {"query": {"query": "SELECT 1", "useLegacySql": False}, "labels": {"Key": "Value"}}
    labelled = emulator.call("POST", "jobs", {"configuration": config})
    return labelled.is_good and emulator.query("SELECT 1", "a b").is_good


def makes(emulator: Emulator, *fields: Any, **more: Any) -> bool:
    body = emulator.table_body(emulator.new_name(), *fields, **more)
    return emulator.call("POST", "datasets/d/tables", body).is_good


@fault("contracts", "A column may have a reserved name.")
def _(emulator: Emulator) -> bool:
    return makes(emulator, ("_partitiondate", "DATE"))


@fault("contracts", "Descriptions may have any length.")
def _(emulator: Emulator) -> bool:
    return makes(emulator, ID, description="x" * 16_385)


@fault("contracts", "A table may be clustered by a FLOAT, by a column that it lacks, and by five.")
def _(emulator: Emulator) -> bool:
    five = [(f"c{number}", "STRING") for number in range(5)]
    return (
        makes(emulator, ("x", "FLOAT"), clustering={"fields": ["x"]})
        and makes(emulator, ID, clustering={"fields": ["other"]})
        and makes(emulator, *five, clustering={"fields": [name for name, _ in five]})
    )


@fault("contracts", "A table may be partitioned by a STRING.")
def _(emulator: Emulator) -> bool:
    return makes(emulator, NAME, timePartitioning={"type": "DAY", "field": "name"})


@fault("contracts", "A change of a schema may drop a column, change its type or mode, and add a REQUIRED one.")
def _(emulator: Emulator) -> bool:
    def changes(*wanted: Any) -> bool:
        table = emulator.table_of(ID, NAME)
        return emulator.call("PATCH", f"datasets/d/tables/{table}", {"schema": {"fields": fields_of(*wanted)}}).is_good

    return (
        changes(ID)
        and changes(ID, ("name", "INTEGER"))
        and changes(ID, ("name", "STRING", "REQUIRED"))
        and changes(ID, NAME, ("x", "STRING", "REQUIRED"))
    )


# views


@fault("views", "A view does not tell its definition, nor its description.")
def _(emulator: Emulator) -> bool:
    view, query = emulator.new_name(), "SELECT 1 AS id,  'a' AS name"
    emulator.query(f"CREATE OR REPLACE VIEW `d.{view}` OPTIONS(description='told') AS {query}")
    found = emulator.call("GET", f"datasets/d/tables/{view}").json
    return (found.get("view") or {}).get("query") != query or found.get("description") != "told"


# partitions


@fault("partitions", "A table does not tell how many partitions it has.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(DAY, ID, **BY_DAY)
    emulator.query(f"INSERT INTO d.{table} (day, id) VALUES ('2025-01-01', 1), ('2025-01-01', 2), ('2025-01-02', 3)")
    return bool(emulator.call("GET", f"datasets/d/tables/{table}").json.get("numPartitions") != "2")


# queries


def ask(emulator: Emulator, sql: str, **more: Any) -> Answer:
    """What has no job of its own, where BigQuery needs none."""
    wish = {"query": sql, "useLegacySql": False, "jobCreationMode": "JOB_CREATION_OPTIONAL", **more}
    return emulator.call("POST", "queries", wish)


@fault("queries", "A SELECT that is asked without need of a job leaves one.")
def _(emulator: Emulator) -> bool:
    return "jobReference" in ask(emulator, "SELECT 1").json


@fault("queries", "A failed query without a job of its own is answered as one without rows.")
def _(emulator: Emulator) -> bool:
    return ask(emulator, "SELECT id FROM d.nothing").is_good


@fault("queries", "A statement runs again under a `requestId` that was used.")
def _(emulator: Emulator) -> bool:
    table, request_id = emulator.table_of(ID), emulator.new_name()
    for _ in range(2):
        assert ask(emulator, f"INSERT INTO d.{table} (id) VALUES (1)", requestId=request_id).is_good
    return len(emulator.rows(table)) == 2


@fault("queries", "A query without a job of its own reports 0 bytes, and nothing stops it.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(ID)
    emulator.query(f"INSERT INTO d.{table} (id) VALUES (1)")
    counted = ask(emulator, f"SELECT id FROM d.{table}").json["totalBytesProcessed"]
    return counted == "0" and ask(emulator, f"SELECT id FROM d.{table}", maximumBytesBilled="1").is_good


# statements


@fault("analysis", "A reserved word may be a name.")
def _(emulator: Emulator) -> bool:
    return emulator.query("SELECT 1 AS nulls").is_good


@fault("analysis", "What only DuckDB knows runs, such as its functions.")
def _(emulator: Emulator) -> bool:
    return emulator.query("SELECT list_sort([2, 1])").is_good


@fault("byte_counts", "Every query reports 0 bytes, and so does its dry run.")
def _(emulator: Emulator) -> bool:
    table = emulator.table_of(ID, NAME)
    emulator.query(f"INSERT INTO d.{table} (id, name) VALUES (1, 'abc')")
    query = {"query": {"query": f"SELECT id FROM d.{table}", "useLegacySql": False}}
    answers = [
        emulator.call("POST", "jobs", {"configuration": {**query, "dryRun": is_dry}}) for is_dry in (False, True)
    ]
    return [answer.json["statistics"]["query"]["totalBytesProcessed"] for answer in answers] != ["8", "8"]


@fault("statements", "`maximumBytesBilled` stops nothing.")
def _(emulator: Emulator) -> bool:
    return emulator.query(f"SELECT id FROM d.{emulator.table_of(ID)}", maximumBytesBilled="1").is_good


@fault("statements", "`MERGE ... ON FALSE` compares every row with every row.")
def _(emulator: Emulator) -> bool:
    plans: list[str] = []
    released = emulator.engine.execute

    def explained(sql: str, parameters: Any = None) -> Any:
        if sql.lstrip().upper().startswith("MERGE"):
            plans.append(released(f"EXPLAIN {sql}").fetchall()[0][1])
        return released(sql, parameters)

    one, two = emulator.table_of(ID), emulator.table_of(ID)
    with mock.patch.object(emulator.engine, "execute", explained):
        for rows in (f"d.{two}", f"(SELECT * FROM d.{two} WHERE id IN (1, 2))"):
            emulator.query(
                f"MERGE d.{one} T USING {rows} S ON FALSE WHEN NOT MATCHED BY SOURCE AND T.id IN (1, 2) THEN DELETE "
                "WHEN NOT MATCHED BY TARGET THEN INSERT (id) VALUES (id)"
            )
    assert len(plans) == 2
    return any("Hash Join" not in plan for plan in plans)
