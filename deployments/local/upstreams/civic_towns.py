"""Generated towns: one SQLite file each, with the tables of civic.band, and what changes in them meanwhile."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Literal

TABLES = ("agendas", "minutes")
LOCAL_CIVIC_KEY = "sample-civic-key"
Kind = Literal["delete", "add", "alter"]

SAMPLE_TOWNS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"alameda.ca": (12_345, 640), "berkeley.ca": (1_000, 0), "temecula.ca": (237, 118), "oak-park.il": (41, 30)}
)
"""Pages of agendas and of minutes per town; the first has more than Datasette counts."""

_MEETINGS = ("CityCouncil", "PlanningBoard", "Parks, Recreation", "School Board")
_COLUMNS = "id, meeting, date, page, text, page_image, entities_json, votes_json"
_ODD_DATES = ("0202-01-05", "2023-02-29", "unknown")
_ODD_EVERY = 400
_Page = tuple[str, str, str, int, str, str, str, str]


def make_town(path: Path, town: str, sizes: tuple[int, int]) -> None:
    """Writes the town's database with so many pages of agendas and of minutes; the same ones every time."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        for table, size in zip(TABLES, sizes, strict=True):
            database.execute(
                f"CREATE TABLE {table} (id TEXT PRIMARY KEY, meeting TEXT, date TEXT, page INT, text TEXT, "
                "page_image TEXT, entities_json TEXT, votes_json TEXT)"
            )
            _insert(database, table, (_page(town, table, number) for number in range(size)))


def change(path: Path, town: str, table: str, kind: Kind, rows: int, seed: int) -> None:
    """Deletes, adds or alters so many pages. An altered one has another text, hence another id; its old row is gone."""
    chosen = random.Random(seed)  # noqa: S311 - repeatable, no secret
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        ids = [row[0] for row in database.execute(f"SELECT id FROM {table} ORDER BY id")]  # noqa: S608 - our names
        if kind != "add":
            gone = chosen.sample(ids, min(rows, len(ids)))
            database.executemany(f"DELETE FROM {table} WHERE id = ?", [(one,) for one in gone])  # noqa: S608
        if kind != "delete":
            numbers = (1_000_000 + seed * 10_000 + number for number in range(rows))
            _insert(database, table, (_page(town, table, number) for number in numbers))


def page_ids(path: Path, table: str) -> list[str]:
    """The ids in the table, in order."""
    with closing(sqlite3.connect(path, timeout=30)) as database:
        return [row[0] for row in database.execute(f"SELECT id FROM {table} ORDER BY id")]  # noqa: S608 - our names


def _insert(database: sqlite3.Connection, table: str, pages: Iterator[_Page]) -> None:
    marks = ", ".join("?" * 8)
    database.executemany(f"INSERT INTO {table} ({_COLUMNS}) VALUES ({marks})", pages)  # noqa: S608 - our names


def _page(town: str, table: str, number: int) -> _Page:
    document, page = divmod(number, 7)
    meeting = _MEETINGS[document % len(_MEETINGS)]
    date = (dt.date(2008, 1, 7) + dt.timedelta(days=(document * 3) % 6_500)).isoformat()
    if number % _ODD_EVERY == _ODD_EVERY - 1:
        date = _ODD_DATES[number // _ODD_EVERY % len(_ODD_DATES)]
    text = f"{town} {meeting} regular meeting {date}\nPage {page + 1}\nItem {number} - résumé of the public hearing"
    # As civic.band's own loader does it: the id is a hash of the content.
    content = json.dumps([table, meeting, date, page + 1, text, number])
    key = hashlib.sha256(content.encode()).hexdigest()[:12]
    prefix = "/_agendas" if table == "agendas" else ""
    image = f"{prefix}/{meeting}/{date}/{page + 1:04d}.png"
    return key, meeting, date, page + 1, text, image, '{"persons": []}', '{"votes": []}'
