"""Hostile text against harmless text of the same megabyte: going back and forth takes thousands of times as long."""

from __future__ import annotations

import time

import pytest

from alerting.redaction import redact, register_secret
from alerting.secret_names import kind_of_name
from alerting.secret_shapes import SHAPES

SIZE = 1_000_000
MOST = 60
"""A linear pattern in Python code takes up to 15 times as long where every character is a match; a quadratic one takes
thousands of times as long."""
HARMLESS = "2025-01-10 verified nba_bdl_games=7 box_scores=182 in 1.2 s, by https://x.test/v1/a?date=1&page=2 \n"
ESCAPES = [
    "%",
    "%41",
    "%2541",
    "&",
    "&#34;",
    "&quot;",
    "\\",
    "\\u0041",
    "\\x41",
    '\\"',
    "=41",
    "=\n",
    "=",
    "=3D",
    "\\n",
]
QUOTES = [
    '"',
    "'",
    "(",
    "[",
    "{",
    "[{",
    "<",
    "<<",
    "{{",
    "$",
    "${",
    ":",
    "::",
    ",",
    ";",
    "=",
    "==",
    " ",
    "\n",
    "\t",
    "_-",
]
NAMES = [
    "key",
    "key=",
    "key:",
    "key\n",
    "x-key|",
    "key=a,",
    'key="a',
    "apikey=a",
    "apiKey=(",
    "password=[",
    'password="',
    "password='",
    "password=a&",
    "password=a;",
    "password=)",
    "passwordpassword=",
    "password=***",
    "password=...",
    "password=${",
    "sigsig=",
    "<password>",
    "<password",
    "<a:password>",
    "<password><a>",
    "('password','",
    "'password','",
    "'password'value='",
    "password|",
]
PHRASES = [
    *(
        "Cookie: a=",
        "Cookie: a=b;",
        "Set-Cookie: ",
        "Authorization: ",
        "Authorization: a, b=",
        "Authorization: Basic a, b=",
    ),
    *(
        "bearer ",
        "bearer a1",
        "basic 1",
        "token 1",
        "password is a",
        "password: |\n",
        '"password"\r\n\r\n',
        "login a password ",
    ),
    *("://", "://a:", "://a:/", "://a@", "://a:/@", "@://", "-u a:", "--user a:b ", "hooks.a.hooks.", "mattermost.a"),
    *("-eyJ", "eyJ", ".eyJ", "eyJa.", "eyJaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----\n-----END "),
    *("0", "0123456789:", "M", "MNO", "A", "aB", "a1", "İ", "\u202e", "Tr0ub4dor", "Tr0ub4dor%26", "Tr0ub4dor&amp;"),
]
ANCHORS = [anchor for shape in SHAPES for anchor in shape.anchors]


def seconds(text: str) -> float:
    started_s = time.perf_counter()
    redact(text)
    return time.perf_counter() - started_s


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_no_pattern_goes_back_and_forth_over_a_megabyte_of_hostile_text() -> None:
    register_secret("Tr0ub4dor&3/x")
    harmless_s = min(seconds((HARMLESS * (SIZE // len(HARMLESS) + 1))[:SIZE]) for _ in range(3))
    ratios = {}
    for unit in dict.fromkeys([*ESCAPES, *QUOTES, *NAMES, *PHRASES, *ANCHORS]):
        kind_of_name.cache_clear()
        ratios[unit] = seconds((unit * (SIZE // len(unit) + 1))[:SIZE]) / harmless_s
    worst = sorted(ratios.items(), key=lambda item: -item[1])[:12]
    print(f"\n1 MB of harmless text: {harmless_s * 1000:.0f} ms; {len(ratios)} hostile ones, the slowest:")
    print("\n".join(f"{ratio:6.1f} x  {unit!r}" for unit, ratio in worst))
    assert worst[0][1] < MOST, worst
