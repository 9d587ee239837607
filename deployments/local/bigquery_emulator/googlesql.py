"""Google's own analyzer of GoogleSQL, offline: the reference implementation as WebAssembly (package ``zetasql``).

    python -m deployments.local.bigquery_emulator.googlesql

compiles it for this machine, once; later starts take it from the cache.

Compiling takes 45 s of CPU and 1 GB; the result is mapped into memory and costs 75 MB of disk, so it is kept in the
user's cache folder, named by both versions. What a statement is held against is a subset: a name that exists in the
reference implementation and not in BigQuery passes here.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.metadata
import importlib.resources
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import wasmtime
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public_options
from zetasql.wasi._pb2.zetasql.resolved_ast import resolved_node_kind_pb2 as kinds

_NOT_IN_BIGQUERY = (
    "FEATURE_V_1_1_ORDER_BY_COLLATE",
    "FEATURE_V_1_3_DML_RETURNING",
    "FEATURE_V_1_3_UNNEST_AND_FLATTEN_ARRAYS",
    "FEATURE_V_1_3_ALLOW_SLASH_PATHS",
    "FEATURE_V_1_4_AGGREGATE_FILTERING",
    "FEATURE_V_1_4_BARE_ARRAY_ACCESS",
    "FEATURE_V_1_4_FOR_UPDATE",
    "FEATURE_V_1_4_INSERT_ON_CONFLICT_CLAUSE",
    "FEATURE_V_1_4_LATERAL_JOIN",
    "FEATURE_V_1_4_LIMIT_OFFSET_EXPRESSIONS",
    "FEATURE_V_1_4_LITERAL_CONCATENATION",
    "FEATURE_V_1_4_MULTIWAY_UNNEST",
    "FEATURE_V_1_4_UUID_TYPE",
    "FEATURE_V_1_4_WITH_EXPRESSION",
    "FEATURE_BETWEEN_UINT64_INT64",
    "FEATURE_JSON_TYPE_COMPARISON",
    "FEATURE_TIMESTAMP_NANOS",
    "FEATURE_TIMESTAMP_PICOS",
    "FEATURE_V_1_4_TIMESTAMP_PRECISION",
)
"""Released features of the language that https://docs.cloud.google.com/bigquery/docs/reference/standard-sql lacks."""

_STATEMENTS = (
    "QUERY",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "TRUNCATE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "ASSERT",
    "CALL",
    "EXECUTE_IMMEDIATE",
    "ASSIGNMENT",
    "EXPORT_DATA",
    "AUX_LOAD_DATA",
    "CREATE_SCHEMA",
    "CREATE_TABLE",
    "CREATE_TABLE_AS_SELECT",
    "CREATE_VIEW",
    "CREATE_SNAPSHOT_TABLE",
    "CREATE_EXTERNAL_TABLE",
    "CREATE_MATERIALIZED_VIEW",
    "CREATE_MODEL",
    "CREATE_FUNCTION",
    "CREATE_TABLE_FUNCTION",
    "CREATE_PROCEDURE",
    "CREATE_ROW_ACCESS_POLICY",
    "CREATE_INDEX",
    "CLONE_DATA",
    "ALTER_SCHEMA",
    "ALTER_TABLE",
    "ALTER_TABLE_SET_OPTIONS",
    "ALTER_VIEW",
    "ALTER_MATERIALIZED_VIEW",
    "DROP",
    "DROP_FUNCTION",
    "DROP_TABLE_FUNCTION",
    "DROP_MATERIALIZED_VIEW",
    "DROP_SNAPSHOT_TABLE",
    "DROP_ROW_ACCESS_POLICY",
    "DROP_INDEX",
    "GRANT",
    "REVOKE",
    "UNDROP",
)
"""Kinds of statements that BigQuery runs."""


class GoogleSqlError(Exception):
    """The statement is refused; the message is Google's, with its place."""


class GoogleSql:
    """One instance of the analyzer. Not safe for use by two threads at once."""

    def __init__(self) -> None:
        self._engine = _engine()
        self._module = _compiled(self._engine)
        self._instantiate()
        self.language = self._language()

    def call(self, method: str, request: Any, answer: Any) -> Any:
        """Calls ``method`` of the service and returns its ``answer``.

        Raises:
            GoogleSqlError: It was refused.
        """
        data = request.SerializeToString()
        sent, size = self._run("wasm_malloc", len(data)), self._run("wasm_malloc", 4)
        try:
            ctypes.memmove(self._address(sent), data, len(data))
            found = self._run(f"ZetaSqlLocalService_{method}", sent, len(data), size)
            if not found:
                told = self._bytes(self._run("wasm_get_last_error"), self._run("wasm_get_last_error_size"))
                raise GoogleSqlError(_message(told.decode()))
            length = int.from_bytes(self._bytes(size, 4), "little")
            try:
                return answer.FromString(self._bytes(found, length))
            finally:
                self._run("wasm_free", found)
        except wasmtime.Trap:
            self._instantiate()  # what is left of the instance is not to be trusted
            raise
        finally:
            self._run("wasm_free", sent)
            self._run("wasm_free", size)

    def _instantiate(self) -> None:
        wasi = wasmtime.WasiConfig()
        wasi.preopen_dir(str(Path(str(importlib.resources.files("tzdata"))) / "zoneinfo"), "/usr/share/zoneinfo")
        self._store = wasmtime.Store(self._engine)
        self._store.set_wasi(wasi)
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        self._exports: Any = linker.instantiate(self._store, self._module).exports(self._store)
        self._run("_initialize")

    def _run(self, name: str, *arguments: int) -> int:
        return self._exports[name](self._store, *arguments) or 0

    def _address(self, pointer: int) -> int:
        return int(ctypes.cast(self._exports["memory"].data_ptr(), ctypes.c_void_p).value or 0) + pointer

    def _bytes(self, pointer: int, size: int) -> bytes:
        return ctypes.string_at(self._address(pointer), size) if size else b""

    def _language(self) -> Any:
        wanted = service.LanguageOptionsRequest(maximum_features=True)
        language = self.call("GetLanguageOptions", wanted, options_pb2.LanguageOptionsProto)
        unknown = {public_options.LanguageFeature.Value(name) for name in _NOT_IN_BIGQUERY}
        enabled = [feature for feature in language.enabled_language_features if feature not in unknown]
        del language.enabled_language_features[:], language.supported_statement_kinds[:]
        language.enabled_language_features.extend(enabled)
        language.supported_statement_kinds.extend(
            kinds.ResolvedNodeKind.Value(f"RESOLVED_{name}_STMT") for name in _STATEMENTS
        )
        language.product_mode = public_options.PRODUCT_EXTERNAL
        return language


def _message(told: str) -> str:
    """The first line of the message; `zetasql.core` reads it too, and costs 0.6 s of CPU to import."""
    found = re.match(r"Code: \d+, Message: (.+)", told)
    return found[1] if found else told


def cache_file() -> Path:
    """Where the compiled analyzer of these versions is kept."""
    folder = next(filter(_is_usable, _cache_folders()), None)
    if folder is None:
        raise SystemExit(f"the compiled SQL analyzer can be kept nowhere: {', '.join(map(str, _cache_folders()))}")
    versions = "-".join(importlib.metadata.version(name) for name in ("zetasql", "wasmtime"))
    return folder / f"googlesql-{versions}.cwasm"


def _cache_folders() -> list[Path]:
    """The user's, and that of this environment where the user has none that can be written to."""
    folders = [Path(sys.prefix) / "var" / "cache" / "gapless"]
    with contextlib.suppress(RuntimeError):  # no HOME, and nobody known by this user id
        folders.insert(0, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gapless")
    return folders


def _is_usable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    return False


def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.shared_memory = True
    return wasmtime.Engine(config)


def _compiled(engine: wasmtime.Engine) -> wasmtime.Module:
    """From the cache. Compiled in a process of its own, whose memory is given back, by one process at a time."""
    file = cache_file()
    with (file.parent / f"{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _fits(engine, file):
            subprocess.run([sys.executable, "-m", __spec__.name], check=True, timeout=900)
        return wasmtime.Module.deserialize_file(engine, str(file))


def _fits(engine: wasmtime.Engine, file: Path) -> bool:
    """Whether the file was compiled for this machine; another processor or version is told by wasmtime itself."""
    try:
        wasmtime.Module.deserialize_file(engine, str(file))
    except wasmtime.WasmtimeError:
        return False
    return True


def compile_analyzer() -> Path:
    """Compiles and keeps it, if the cache does not have it."""
    file, engine = cache_file(), _engine()
    if not _fits(engine, file):
        made = wasmtime.Module.from_file(engine, str(get_wasm_path())).serialize()
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_bytes(made)
        partial.replace(file)
    return file


if __name__ == "__main__":
    compile_analyzer()
