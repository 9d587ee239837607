"""A server that lies in every way it can, ten thousand times: no crash, no emptiness without proof, no row made up.

Statuses, headers, bodies, cuts, packings and delays are drawn by a seed. What may be loaded is known beforehand, from
the answers alone: rows come from whole good bodies, and emptiness from the one proof of it.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from judging import PAYLOADS, Judge
from raw_server import Pieces

pytestmark = pytest.mark.faults

ANSWERS = int(os.environ.get("GAPLESS_HOSTILE_ANSWERS", "10000"))
SEED = int(os.environ.get("GAPLESS_HOSTILE_SEED", "20261128"))
KEYS = {"bdl_box_scores": "2025-01-03", "civic_band": "alameda.ca~agendas"}
EMPTIES = {
    "bdl_box_scores": [b'{"data":[]}'],
    "civic_band": [b'{"ok":true,"rows":[],"count":0,"next":null,"truncated":false}'],
}
SIGNS = (b"cf-mitigated", b"content-range", b"x-amzn-waf-action")

STATUS_LINES = """
HTTP/1.1 200 OK|HTTP/1.1 200 OK|HTTP/1.1 200 OK|HTTP/1.1 200 OK|HTTP/1.0 200 OK|HTTP/1.1 200|HTTP/1.1 201 Created
HTTP/1.1 202 Accepted|HTTP/1.1 203 Changed|HTTP/1.1 204 No Content|HTTP/1.1 205 Reset|HTTP/1.1 206 Partial Content
HTTP/1.1 226 IM Used|HTTP/1.1 301 Moved|HTTP/1.1 302 Found|HTTP/1.1 304 Not Modified|HTTP/1.1 400 Bad|HTTP/1.1 401 No
HTTP/1.1 402 Pay|HTTP/1.1 403 Forbidden|HTTP/1.1 404 Not Found|HTTP/1.1 410 Gone|HTTP/1.1 418 Tea|HTTP/1.1 422 Wrong
HTTP/1.1 429 Slow|HTTP/1.1 500 Broken|HTTP/1.1 503 Busy|HTTP/1.1 599 What|HTTP/1.1 999 Odd|HTTP/2 200|HTTP/1.1 20x OK
ICY 200 OK|garbage|HTTP/1.1 100 Continue|HTTP/1.1 101 Switching Protocols
"""
HEADER_LINES = """
Content-Type: application/json|Content-Type: application/json; charset=utf-8|Content-Type: text/html|Content-Type:
Content-Encoding: utf-8|Content-Encoding: br|Content-Encoding: identity|Content-Encoding: gzip, gzip, gzip, gzip, gzip
Retry-After: 0|Retry-After: -5|Retry-After: 99999999999999999999|Retry-After: Sat, 28 Nov 2026 00:00:30 +9999999999999
Retry-After: soon|Retry-After: 3|Retry-After: Fri, 31 Dec 9999 23:59:59 -2359|Content-Range: bytes 0-10/52000
Content-Range: nonsense|Set-Cookie: a=b; Expires=Thu, 99 Foo 99999 99:99:99 GMT; Domain=..|Set-Cookie: =; =;;=
Location: http://[::bad|Location: javascript:alert(1)|Location: \xff\xfe|Link: <http://[x>; rel="next"|ETag: "
X-RateLimit-Remaining: 0|X-RateLimit-Remaining: -1e999|Date: yesterday|Transfer-Encoding: identity|X: \xe9\xff
cf-mitigated: challenge|x-amzn-waf-action: captcha|Content-Length: 5|Content-Length: -1|Content-Length: 1_000
Connection: keep-alive|Vary: *|Content-Type: application/json\x0b|Bad header without a colon| folded: yes
"""
STATUSES = [line.encode("latin-1") for line in STATUS_LINES.replace("\n", "|").split("|") if line]
HEADERS = [line.encode("latin-1") for line in HEADER_LINES.replace("\n", "|").split("|") if line]


@dataclass(frozen=True)
class Drawn:
    """One answer: its pieces, and what an honest reader may make of it."""

    pieces: list[bytes]
    may_load: bool
    may_be_empty: bool
    must_load: bool = False


def drawn(chance: random.Random, good: bytes, empties: list[bytes]) -> Drawn:
    """A body, what happens to it, what is said of it, and how it is sent."""
    if chance.random() < 0.1:
        plain = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(good), good)
        return Drawn(_cut(chance, plain), may_load=True, may_be_empty=False, must_load=True)
    body = chance.choice([good, good, good, *empties, *_bodies(chance, good)])
    # One bad byte may stand in a field that no column takes: then all rows are as they were.
    is_good = len(body) == len(good) and sum(one != other for one, other in zip(body, good, strict=True)) <= 1
    is_empty = body in empties
    status = STATUSES[0] if chance.random() < 0.5 else chance.choice(STATUSES)
    headers = chance.sample(HEADERS, chance.choice([0, 0, 1, 1, 2, 3]))
    sent = body
    if chance.random() < 0.3:
        sent = gzip.compress(sent, mtime=0) + bytes(chance.choice([0, 0, 7]))
        headers.append(b"Content-Encoding: gzip" if chance.random() < 0.8 else b"Content-Encoding: utf-8")
    if chance.random() < 0.15:
        cut = chance.randrange(len(sent) + 1)
        # Behind the last brace there is nothing to lose.
        is_good = is_good and cut >= len(sent.rstrip(b"\n\0"))
        is_empty = is_empty and cut >= len(sent.rstrip(b"\n\0"))
        sent = sent[:cut]
    way = chance.random()
    if way < 0.6:
        headers.append(b"Content-Length: %d" % len(sent))
        raw = sent
    elif way < 0.7:
        headers.append(b"Content-Length: %d" % (len(sent) + chance.choice([-5, 5, 10**9])))
        raw = sent
    elif way < 0.9:
        headers.append(b"Transfer-Encoding: chunked")
        raw = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _cut(chance, sent) if part)
        raw += chance.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"", b"zz\r\n"])
    else:
        raw = sent
    whole = b"\r\n".join([status, *headers, b"", b""]) + raw
    said = b"\n".join(headers).lower()
    # Not what must be loaded: what may be, because the answer is a complete one.
    is_complete = status.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) and not any(sign in said for sign in SIGNS)
    return Drawn(_cut(chance, whole), is_complete and is_good, is_complete and is_empty)


def _bodies(chance: random.Random, good: bytes) -> Iterator[bytes]:
    document = json.loads(good)
    name = next(name for name, value in document.items() if isinstance(value, list))
    yield b""
    yield b" \n"
    yield b"[" * 1_200
    yield b'{"a":' * 2_000
    yield b"<!doctype html><title>Ein Moment</title>" + b"x" * chance.randrange(20_000)
    yield b"<html><script>_cf_chl_opt={}</script>"
    yield good + good
    yield good[: chance.randrange(len(good))]
    yield b"{" + json.dumps(name).encode() + b":[]," + good.lstrip()[1:]
    yield json.dumps({**document, "error": "timeout"}).encode()
    yield json.dumps({**document, name: {}}).encode()
    yield json.dumps({**document, name: [None]}).encode()
    yield json.dumps({**document, name: [], "message": "later", "count": None}).encode()
    yield json.dumps([document]).encode()
    yield bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
    at = chance.randrange(len(good))
    spoiled = good[:at] + bytes([chance.randrange(256)]) + good[at + 1 :]
    yield b"" if _is_json(spoiled) else spoiled


def _is_json(body: bytes) -> bool:
    """Whole JSON of other values is a good answer of another day."""
    try:
        json.loads(body.decode())
    except ValueError:
        return False
    return True


def _cut(chance: random.Random, data: bytes) -> list[bytes]:
    at = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 1, 3])))
    return [data[begin:end] for begin, end in itertools.pairwise([0, *at, len(data)])]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", KEYS)
def test_ten_thousand_hostile_answers_crash_nothing_and_load_no_row_that_a_recount_does_not_have(name: str) -> None:
    chance = random.Random(f"{SEED} {name}")
    good = (PAYLOADS / name / f"{KEYS[name]}.json").read_bytes()
    seen: Counter[str] = Counter()
    delayed = 0
    with Judge(name, KEYS[name], timeout_s=0.5) as judge:
        rows = judge.of(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + good).rows
        assert any(rows.values())
        for number in range(ANSWERS // len(KEYS)):
            one = drawn(chance, good, EMPTIES[name])
            pause_s = chance.choice([0.0] * 49 + [0.01] * 50 + [0.0])
            is_late = chance.random() < 0.004
            delayed += is_late

            def answer(
                _: int, asked: bytes, one: Drawn = one, pause_s: float = pause_s, late: bool = is_late
            ) -> Pieces:
                for piece in one.pieces:
                    judge.server.stopping.wait(2.0 if late else pause_s if len(one.pieces) > 1 else 0.0)
                    yield piece

            found = judge.of(answer)
            if one.must_load and found.kind == "SourceUnavailable":
                # A kept connection that the last hostile answer had left behind: what a retry is for.
                found = judge.of(answer)
            where = (SEED, name, number, one.pieces[0][:80], found.kind, found.error)
            seen[found.kind] += 1
            assert is_late or not one.must_load or found.kind == "loaded", where
            if found.kind == "empty":
                assert one.may_be_empty, where
            elif found.kind == "loaded":
                assert one.may_load, where
                assert found.rows == rows, where
            else:
                assert not any(found.rows.values()), where
    told = ", ".join(f"{kind} {count}" for kind, count in seen.most_common())
    print(f"{name}: {seen.total()} answers, {delayed} of them late: {told}")
    assert seen["loaded"] > ANSWERS // len(KEYS) // 20, "good answers get through"
    assert seen["empty"] > 0
    assert {"SourceUnavailable", "SourceContractError", "BlockedBySource", "Truncated"} <= set(seen)
