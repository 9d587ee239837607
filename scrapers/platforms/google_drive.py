"""Files that somebody drops into a folder of Google Drive and shares with our service account.

https://developers.google.com/workspace/drive/api/reference/rest/v3/files/list

A search by name finds words in any order, so names are compared here. An empty list proves nothing: Drive's index lags
behind. What a file is, its id, its MD5 and the time of its last change say together.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from alerting.errors import (
    BudgetExhausted,
    NothingPublished,
    NotSettled,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
)
from scrapers.answers import Answer, parsed_json
from scrapers.auth import TokenAuth
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.partition import Partition
from scrapers.platforms.catalogue import Changes, Versioned
from scrapers.rate import Rate

PATH = "/drive/v3/files"
# It becomes a part of a path that is asked with our token.
_ID = re.compile(r"[0-9A-Za-z_-]{1,200}")
_FIELDS = "nextPageToken,incompleteSearch,files(id,name,md5Checksum,modifiedTime,size)"
_EVERYWHERE = (("supportsAllDrives", "true"), ("includeItemsFromAllDrives", "true"))
_REASONS: Mapping[str, type[PipelineError]] = {
    "userRateLimitExceeded": RateLimited,
    "rateLimitExceeded": RateLimited,
    "sharingRateLimitExceeded": RateLimited,
    "dailyLimitExceeded": BudgetExhausted,
    # Of one file, until somebody has not asked for it for a day.
    "downloadQuotaExceeded": SourceUnavailable,
}
"""https://developers.google.com/workspace/drive/api/guides/handle-errors"""


@dataclass(frozen=True, slots=True)
class File:
    """A file as a list has it; ``modified`` as Drive writes it."""

    id: str
    name: str
    md5: str
    modified: str
    size_bytes: int

    @property
    def version(self) -> str:
        """Another one is another file, whatever its name."""
        return f"{self.id} {self.md5} {self.modified}"


class DriveFolder(Scraper, Versioned):
    """A source whose files are of one date each, which their names tell.

    Class attributes:
        media_type: Of the files.
        excluded: Words of names that are none of its files.
    """

    base_url = "https://www.googleapis.com"
    account = "google_drive"
    auth = TokenAuth("drive_service_account", "https://www.googleapis.com/auth/drive.readonly")
    rate = Rate(per_second=8)  # 12,000 a minute is what Drive allows a project and a user
    is_paginated = True
    page_size = 100
    media_type: ClassVar[str]
    excluded: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def item_of(self, file: File) -> tuple[str, str]:
        """Key of the partition that the file belongs to, and what it is there: of several the newest counts.

        The key is "" for a file that is none of ours; the second where only the name is not as it should be.
        """

    @abstractmethod
    def words(self, partition: Partition) -> str:
        """With what the names of its files begin."""

    @abstractmethod
    def counts(self, file: File, body: bytes) -> Mapping[str, int]:
        """Rows per table of one file. Raises as ``inspect`` does."""

    def first_request(self, partition: Partition) -> Request:
        """The list of the date's files."""
        return self._list(f"name contains '{self.words(partition)}'", {})

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """A list names the files, each of which is then asked for; an empty one is asked for again."""
        if page.request.path == PATH:
            return self._listed(partition, page)
        file, *rest = [File(**one) for one in json.loads(page.request.cursor)]
        if page.is_absent:
            raise NotSettled(f"{file.name} was deleted after it was listed")
        _refuse_other_content(file, page.body)
        counts = self.counts(file, page.body)
        return Findings(counts, keys=(file.name,), next_request=self._download(rest))

    def changes_request(self, since: dt.datetime) -> Request:
        """Everything that was changed since, a thousand files a page."""
        return self._list(f"modifiedTime > '{since.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S}'", {}, size=1000)

    def changes(self, page: Page) -> Changes:
        """Versions by date."""
        files, token = _files_in(page)
        newest: dict[tuple[str, str], File] = {}
        for file in files:
            key, what = self.item_of(file)
            if what:
                newest[key, what] = max(newest.get((key, what), file), file, key=_age)
        versions: dict[str, dict[str, str]] = {}
        for (key, _), file in newest.items():
            versions.setdefault(key, {})[file.name] = file.version
        last = max((dt.datetime.fromisoformat(file.modified) for file in files), default=None)
        query = dict(page.request.params)["q"].partition(" and ")[0]
        return Changes(versions, last, self._list(query, {"token": token}, size=1000) if token else None)

    def problem(self, answer: Answer) -> PipelineError | None:
        """By the reason that Drive names: most of its limits come as 403."""
        if answer.status not in (403, 429):
            return None
        try:
            told = parsed_json(answer.body)
            reason = str(told["error"]["errors"][0]["reason"])
        except (PipelineError, KeyError, TypeError, IndexError):
            return None
        kind = _REASONS.get(reason)
        if kind is None or (answer.status == 429 and kind is RateLimited):
            return None  # with its Retry-After, if any
        facts = {"unit": "day"} if kind is BudgetExhausted else {}
        return kind(f"Drive answered {answer.status} {reason}", status=answer.status, **facts)

    def _listed(self, partition: Partition, page: Page) -> Findings:
        state = json.loads(page.request.cursor or "{}")
        files, token = _files_in(page)
        found = {what: File(**one) for what, one in state.get("found", {}).items()}
        for file in files:
            key, what = self.item_of(file)
            if key == partition.key and not what:
                raise SourceContractError(f"a file of the date has the name {file.name[:80]!r}, which is unknown")
            if key == partition.key:
                found[what] = max(found.get(what, file), file, key=_age)
        query = f"name contains '{self.words(partition)}'"
        none = dict.fromkeys(self.tables, 0)
        if token:
            state |= {"token": token, "found": {what: asdict(file) for what, file in found.items()}}
            return Findings(none, lists=(), next_request=self._list(query, state))
        if not found and not state.get("again"):
            return Findings(none, lists=(), next_request=self._list(query, {"again": True}))
        if not found:
            raise NothingPublished("two lists in a row have no file of the date: an empty list proves nothing")
        ours = sorted(found.values(), key=lambda file: file.name)
        return Findings(
            none,
            lists=tuple(file.name for file in ours),
            versions={file.name: file.version for file in ours},
            next_request=self._download(ours),
        )

    def _list(self, query: str, state: Mapping[str, Any], size: int = 0) -> Request:
        conditions = [query, *(f"not name contains '{word}'" for word in self.excluded), "trashed = false"]
        params = [("q", " and ".join(conditions)), ("fields", _FIELDS), ("pageSize", str(size or self.page_size))]
        if state.get("token"):
            params.append(("pageToken", state["token"]))
        cursor = json.dumps(state, separators=(",", ":")) if state else ""
        return Request(PATH, (*params, *_EVERYWHERE), cursor=cursor)

    def _download(self, files: Iterable[File]) -> Request | None:
        left = list(files)
        if not left:
            return None
        return Request(
            f"{PATH}/{left[0].id}",
            (("alt", "media"), _EVERYWHERE[0]),
            headers=(("Accept", self.media_type),),
            cursor=json.dumps([asdict(file) for file in left], separators=(",", ":")),
            absent_ok=True,
            item=left[0].name,
        )


def _files_in(page: Page) -> tuple[list[File], str]:
    """The files of a list and the token of its next page. Raises ``SourceContractError``, ``SourceUnavailable``."""
    document = parsed_json(page.body, ("nextPageToken",))
    try:
        files = [
            File(one["id"], one["name"], one["md5Checksum"], one["modifiedTime"], int(one["size"]))
            for one in document["files"]
        ]
        token = document.get("nextPageToken", "")
        texts = [token, *(text for file in files for text in (file.id, file.name, file.md5, file.modified))]
        if not all(isinstance(text, str) for text in texts) or len({file.id for file in files}) != len(files):
            raise TypeError("a field of a file is not text, or a file came twice")
        for file in files:
            _age(file)
            if not _ID.fullmatch(file.id):
                raise ValueError(f"id {file.id[:40]!r}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceContractError(f"a list of files has an unexpected shape: {type(error).__name__} {error}") from None
    return files, token


def _refuse_other_content(file: File, body: bytes) -> None:
    """Before anything is read of it. ``NotSettled`` for another content, so that the date is listed again;
    ``SourceUnavailable`` for less of it that ends within a line."""
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if (md5, len(body)) == (file.md5, file.size_bytes):
        return
    is_cut = len(body) < file.size_bytes and not body.endswith(b"\n")
    told = f"{file.size_bytes:,} bytes and MD5 {file.md5}, and came with {len(body):,} and {md5}"
    raise (SourceUnavailable if is_cut else NotSettled)(f"{file.name} was listed with {told}")


def _age(file: File) -> tuple[dt.datetime, str]:
    changed = dt.datetime.fromisoformat(file.modified)
    if changed.tzinfo is None:
        raise ValueError(f"{file.modified!r} has no zone")
    return changed, file.id
