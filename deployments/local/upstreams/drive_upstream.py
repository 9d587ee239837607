"""The sample of Google Drive v3 with BigDataBall's folder in it: as much of Drive as reads files, with its oddities.

    with DriveUpstream(now=dt.datetime(2025, 1, 20, tzinfo=dt.UTC)) as upstream:    # upstream.url, upstream.key_file
        ...

``POST /token`` takes a service account's signed assertion, verifies its signature, audience, scope and times, and gives
a bearer token of an hour. With it: ``GET /drive/v3/files`` (``q``, ``fields``, ``pageSize`` up to 1000, ``pageToken``,
newest first) and ``GET /drive/v3/files/{id}`` (``alt=media`` for the content). ``q`` joins by ``and`` what is asked:
``name contains '...'``, ``not name contains '...'``, ``modifiedTime > '...'``, ``trashed = false``. ``contains`` finds
names that have all the words of the text in any order, so that ``[2025-01-03]`` also finds ``[2025-03-01]``; with
``orderBy`` it finds everything. Sizes are texts. A file is there from 9:30 UTC of the day after its game on; each date
with games has a ``combined-stats`` file, too. There are the games of a season but preseason and All-Star game.

Assumptions, where nothing is recorded: when files come; that a corrected file keeps its id; the words of refusals.

Control, see `sample_server`; and ``POST clock`` (``{"now": "2025-02-01T00:00:00Z"}``, null = the real one), ``POST
season`` (a list of `league.Change`), ``POST revise`` (``{"game": "0022400477"}``: its file is another one from now on),
``POST expire`` (``{}``: no token is good any longer), ``GET tokens`` (how many were given). Kinds of trouble of its
own: `DriveKind`; a rule's dates are those of the names asked for, and of the file that is downloaded.

Truth: `league.Calendar`, `bigdataball_files` (rows), ``files`` of the upstream.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import parse_qs

from pydantic import TypeAdapter

from deployments.local.upstreams.bigdataball_files import csv_of, file_name
from deployments.local.upstreams.drive_key import DRIVE_ACCOUNT, key_file, verified_claims
from deployments.local.upstreams.league import CHANGES, Calendar, Game, game_of, usual_calendar
from deployments.local.upstreams.sample_rules import Rule, TransportKind
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream
from deployments.local.upstreams.season import season_of

DriveKind = Literal[
    TransportKind,
    "user_rate_limit",  # 403 userRateLimitExceeded
    "daily_limit",  # 403 dailyLimitExceeded
    "no_right",  # 403 insufficientFilePermissions
    "empty_list",  # no file, although there are some
    "lost_file",  # the first file is missing in the list
    "incomplete_search",  # the list says that it is not all
    "older_twin",  # the first file twice: once as an older upload under another id
    "wrong_names",  # the files of the day before
    "deleted",  # 404 for the content
    "changed_meanwhile",  # the content is already that of the next revision
    "cut_csv",  # half of the content, with its true length
    "cut_line",  # the content without its last lines
    "other_header",  # a column has another name
    "open_quote",  # a quote that nobody closes
    "other_game",  # the content of another game
    "bad_token",  # the token endpoint answers in another shape
]

SCOPE = "https://www.googleapis.com/auth/drive.readonly"
_LISTS, _TOKENS = "/drive/v3/files", "/token"
_ASKED_DATE = re.compile(r"\[(\d{4}-\d\d-\d\d)\]")
_CONDITION = re.compile(
    r"(?P<not>not )?name contains '(?P<text>[^']*)'|modifiedTime > '(?P<since>[^']*)'|(?P<all>trashed = false)"
)
_KINDS = frozenset({"regular", "playoffs", "play_in", "cup_final"})
_FIRST_SEASON = 2020
_LIFETIME_S = 3600
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class DriveFile:
    """A file as a list has it; ``game`` is None for combined statistics."""

    id: str
    name: str
    content: bytes
    modified: dt.datetime
    game: Game | None = None

    @property
    def document(self) -> dict[str, str]:
        """As Drive tells it."""
        return {
            "kind": "drive#file",
            "id": self.id,
            "name": self.name,
            "mimeType": "text/csv",
            "md5Checksum": hashlib.md5(self.content).hexdigest(),  # noqa: S324 - what Drive tells
            "modifiedTime": f"{self.modified:%Y-%m-%dT%H:%M:%S}.{self.modified.microsecond // 1000:03d}Z",
            "size": str(len(self.content)),
        }


class DriveUpstream(SampleUpstream[DriveKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        now: Fixes its clock; None is the real one.
        calendar: What was played.
        latency_ms: Added to every data answer.
        listener: Takes its connections instead of those of ``port``.
    """

    rules = TypeAdapter(list[Rule[DriveKind]])
    posts = frozenset({_TOKENS})

    def __init__(
        self,
        port: int = 0,
        *,
        now: dt.datetime | None = None,
        calendar: Calendar | None = None,
        latency_ms: float = 0.0,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.now = now
        self.calendar = calendar
        self.tokens_given = 0
        self.lifetime_s = _LIFETIME_S
        self._lock = threading.Lock()
        self._tokens: dict[str, dt.datetime] = {}
        self._revisions: Counter[str] = Counter()
        self._revised: dict[str, dt.datetime] = {}
        self.controls |= {
            "clock": self._set_clock,
            "season": self._set_season,
            "revise": lambda document: self.revise(document["game"]),
            "expire": lambda _: self.expire(),
        }
        self.shows["tokens"] = lambda: {"given": self.tokens_given}

    @property
    def key_file(self) -> str:
        """The secret of whoever reads here."""
        return key_file(f"{self.url}{_TOKENS}")

    def clock(self) -> dt.datetime:
        """Aware UTC."""
        return self.now or dt.datetime.now(dt.UTC)

    def revise(self, game: str) -> None:
        """Its file has other content, and was modified now; ``ValueError`` where there is no such game."""
        with self._lock:
            self._revisions[game_of(game).nba_id] += 1
            self._revised[game] = self.clock()

    def expire(self) -> None:
        """No token that was given is good any longer."""
        with self._lock:
            self._tokens.clear()

    def calendar_of(self, season: int) -> Calendar:
        """What happened in the season."""
        return usual_calendar(season) if self.calendar is None else self.calendar

    def files(self, date: dt.date) -> list[DriveFile]:
        """What lies there of a date by now."""
        listed = self.calendar_of(season_of(date)).listed_on(date)
        games = [one.game for one in listed if not one.is_postponed]
        found = [self._file(game) for game in games if game.kind in _KINDS]
        if found:
            name = f"[{date}]-combined-stats.csv"
            came = dt.datetime.combine(date + dt.timedelta(days=1), dt.time(9, 30), dt.UTC)
            found.append(DriveFile(f"1combined-{date}", name, b"game_id\r\n", came))
        return [file for file in found if file.modified <= self.clock()]

    # -- the world's side of the server -------------------------------------------------------------------------

    def refusal(self, call: Call) -> Answer | None:
        """A token that is not good; the token endpoint itself needs none."""
        if call.path == _TOKENS:
            return None
        given = call.headers.get("authorization", "")
        if not given:
            return self.error(403, "The request is missing a valid API key.")
        with self._lock:
            ends = self._tokens.get(given.removeprefix("Bearer "))
        return self.error(401, "Invalid Credentials") if ends is None or ends <= dt.datetime.now(dt.UTC) else None

    def date_of(self, call: Call) -> dt.date | None:
        """The date of the names asked for, or of the file."""
        found = _ASKED_DATE.search(call.get("q") or "")
        if found:
            return dt.date.fromisoformat(found[1])
        game = _game_in(call.path)
        return game.date if game else None

    def error(self, status: int, text: str) -> Answer:
        """As Google's APIs tell errors."""
        reason = {401: "authError", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded"}.get(status)
        return _refused(status, reason or "backendError", text)

    def answer(self, call: Call, kind: DriveKind | None) -> Answer:
        """By path."""
        if call.path == _TOKENS:
            return self._give_token(call.body, kind)
        if kind == "user_rate_limit":
            return _refused(403, "userRateLimitExceeded", "User Rate Limit Exceeded.", "usageLimits")
        if kind == "daily_limit":
            return _refused(403, "dailyLimitExceeded", "Daily Limit Exceeded.", "usageLimits")
        if kind == "no_right":
            return _refused(403, "insufficientFilePermissions", "The user does not have sufficient permissions.")
        if call.path == _LISTS:
            return self._list(call, kind)
        return self._content(call, kind)

    def _give_token(self, body: bytes, kind: DriveKind | None) -> Answer:
        if kind == "bad_token":
            return Answer(200, {"token": "none"})
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        try:
            if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
                raise ValueError("Invalid grant_type")
            claims = verified_claims(form.get("assertion", ""))
            begins, ends, now_s = claims["iat"], claims["exp"], dt.datetime.now(dt.UTC).timestamp()
            if claims["iss"] != DRIVE_ACCOUNT or claims["aud"] != f"{self.url}{_TOKENS}" or claims["scope"] != SCOPE:
                raise ValueError("Invalid JWT: issuer, audience or scope")
            if not begins - 300 <= now_s <= ends or ends - begins > _LIFETIME_S:
                raise ValueError("Invalid JWT: Token must be a short-lived token")
        except (ValueError, KeyError, TypeError) as error:
            return Answer(400, {"error": "invalid_grant", "error_description": str(error)})
        token = f"ya29.c.sample-{secrets.token_urlsafe(48)}"
        with self._lock:
            self.tokens_given += 1
            self._tokens[token] = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.lifetime_s)
        return Answer(200, {"access_token": token, "expires_in": self.lifetime_s, "token_type": "Bearer"})

    def _list(self, call: Call, kind: DriveKind | None) -> Answer:
        query, size = call.get("q") or "", int(call.get("pageSize") or 100)
        conditions = [_CONDITION.fullmatch(part) for part in query.split(" and ")]
        if None in conditions or not 1 <= size <= 1000:
            return _refused(400, "invalid", "Invalid Value")
        found = [file for file in self._found(query, call.get("orderBy")) if _matches(file, conditions)]
        found.sort(key=lambda file: (-file.modified.timestamp(), file.name))
        found = _spoiled(found, kind, self)
        begin = _page_begin(call.get("pageToken"), query)
        if begin is None:
            return _refused(400, "invalid", "Invalid Value")
        asked = re.findall(r"\w+", (re.search(r"files\(([^)]*)\)", call.get("fields") or "") or ["", "id,name"])[1])
        files = [{name: file.document[name] for name in asked} for file in found[begin : begin + size]]
        document: dict[str, Any] = {"incompleteSearch": kind == "incomplete_search", "files": files}
        if begin + size < len(found):
            document["nextPageToken"] = _page_token(begin + size, query)
        return Answer(200, document)

    def _found(self, query: str, order: str | None) -> Iterator[DriveFile]:
        """Files that can match; not all of all seasons, whose content would have to be made."""
        asked, since = _ASKED_DATE.search(query), re.search(r"modifiedTime > '([^']*)'", query)
        last = self.clock().date()
        if asked and not order:
            date = dt.date.fromisoformat(asked[1])
            # The other date of the same words.
            dates = {date, *([dt.date(date.year, date.day, date.month)] if date.day <= 12 else [])}
        else:
            begin = _instant(since[1]).date() if since else last - dt.timedelta(days=7)
            dates = {begin + dt.timedelta(days=days) for days in range(-1, (last - begin).days + 1)}
            dates |= {file.date for file in (game_of(game) for game in self._revised)}
        for date in sorted(dates):
            if date.year >= _FIRST_SEASON:
                yield from self.files(date)

    def _content(self, call: Call, kind: DriveKind | None) -> Answer:
        first = _game_in(call.path)
        listed = self.files(self._date_played(first)) if first else []
        file_id = call.path.rsplit("/", 1)[-1]
        file = next((one for one in listed if one.id == file_id), None)
        if file is None or file.game is None or kind == "deleted":
            return _refused(404, "notFound", f"File not found: {file_id}.")
        if call.get("alt") != "media":
            return Answer(200, file.document)
        content = file.content
        if kind == "changed_meanwhile":
            content = csv_of(file.game, self._revisions[file.game.nba_id] + 1)
        elif kind == "cut_csv":
            content = content[: len(content) // 2]
        elif kind == "cut_line":
            content = b"".join(content.splitlines(keepends=True)[:-9])
        else:
            content = _uploaded_wrong(file, kind, listed).content
        return Answer(200, content, media_type="text/csv")

    def _date_played(self, game: Game) -> dt.date:
        """Where the calendar has it, postponed or not."""
        return next(
            (one.date for one in self.calendar_of(game.season).games_in(game.season) if one.nba_id == game.nba_id),
            game.date,
        )

    def _file(self, game: Game) -> DriveFile:
        with self._lock:
            revision, revised = self._revisions[game.nba_id], self._revised.get(game.nba_id)
        came = dt.datetime.combine(game.date + dt.timedelta(days=1), dt.time(9, 30), dt.UTC)
        return DriveFile(_id_of(game.nba_id), file_name(game), csv_of(game, revision), revised or came, game)

    def _set_clock(self, document: Any) -> None:
        self.now = None if document["now"] is None else dt.datetime.fromisoformat(document["now"])

    def _set_season(self, document: Any) -> None:
        self.calendar = Calendar(CHANGES.validate_python(document))


def _matches(file: DriveFile, conditions: list[Any]) -> bool:
    for condition in conditions:
        if condition["text"] is not None:
            is_there = not Counter(_WORDS.findall(condition["text"])) - Counter(_WORDS.findall(file.name))
            if is_there == bool(condition["not"]):
                return False
        elif condition["since"] and file.modified <= _instant(condition["since"]):
            return False
    return True


def _spoiled(found: list[DriveFile], kind: DriveKind | None, upstream: DriveUpstream) -> list[DriveFile]:
    if kind == "empty_list":
        return []
    if kind == "lost_file":
        return found[1:]
    if kind == "wrong_names" and found and found[0].game:
        return upstream.files(found[0].game.date - dt.timedelta(days=1))
    if kind == "older_twin" and found:
        twin = found[0]
        older = twin.modified - dt.timedelta(hours=3)
        return [*found, DriveFile(f"1{'0' * 9}{twin.id[10:]}", twin.name, b"x" + twin.content, older, twin.game)]
    return [_uploaded_wrong(file, kind, found) for file in found]


def _uploaded_wrong(file: DriveFile, kind: DriveKind | None, listed: list[DriveFile]) -> DriveFile:
    """As its vendor put it there: a list tells the checksum of the wrong content, too."""
    if file.game is None:
        return file
    content = file.content
    if kind == "other_header":
        content = content.replace(b"play_id", b"event_id", 1)
    elif kind == "open_quote":
        content = content.replace(b"start of period", b'"start of period', 1)
    elif kind == "other_game":
        content = csv_of(next(one.game for one in listed if one.game and one.game != file.game))
    return replace(file, content=content)


def _instant(text: str) -> dt.datetime:
    """Without a zone it is UTC's."""
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _id_of(nba_id: str) -> str:
    return f"1{nba_id}{base64.urlsafe_b64encode(hashlib.sha256(nba_id.encode()).digest())[:22].decode()}"


def _game_in(path: str) -> Game | None:
    """The game of a file's id, as first scheduled."""
    file_id = path.rsplit("/", 1)[-1]
    try:
        return game_of(file_id[1:11]) if file_id == _id_of(file_id[1:11]) else None
    except ValueError:
        return None


def _page_token(begin: int, query: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([begin, query]).encode()).decode()


def _page_begin(token: str | None, query: str) -> int | None:
    if token is None:
        return 0
    try:
        begin, of = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        return None
    return int(begin) if of == query else None


def _refused(status: int, reason: str, message: str, domain: str = "global") -> Answer:
    error = {"domain": domain, "reason": reason, "message": message}
    return Answer(status, {"error": {"errors": [error], "code": status, "message": message}})
