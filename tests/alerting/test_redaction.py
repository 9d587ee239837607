from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import email.message
import html
import importlib
import json
import logging
import quopri
import random
import re
import urllib.parse
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from secret_cases import HARMLESS, NAMES, a_key, a_password, forms_of, structures_with, texts_with

from alerting import redaction
from alerting.incident import Incident
from alerting.redaction import RedactingFilter, printable, redact, redact_value, register_secret
from alerting.run_facts import RunFacts
from alerting.secret_literals import masked_in, register_passing_secret
from alerting.summary import render

PLANTED = "pl4nted-S3cret-value"


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://api.test/v4/odds?apiKey={PLANTED}&date=2024-01-01",
        f"GET https://api.test/v4/odds?date=1&api_key={PLANTED}",
        f"https://api.test/?key={PLANTED}",
        f"https://storage.test/o?X-Goog-Credential={PLANTED}&X-Goog-Signature={PLANTED}&X-Goog-Expires=60",
        f"https://s3.test/o?X-Amz-Security-Token={PLANTED}",
        f"Authorization: {PLANTED}",
        f"Authorization: Basic {PLANTED}",
        f"{{'Authorization': 'Bearer {PLANTED}'}}",
        f'{{"authorization": "{PLANTED}", "page": 1}}',
        f"Cookie: cf_clearance={PLANTED}; other={PLANTED}",
        f"Set-Cookie: session={PLANTED}; HttpOnly",
        f"Bearer {PLANTED}",
        f"postgres://me:{PLANTED}@db.test/prices",
        f"https://{PLANTED}@sentry.test/1",
        f"password={PLANTED}",
        f'"client_secret": "{PLANTED}"',
        f'{{\\"apiKey\\": \\"{PLANTED}\\"}}',
        f"X-Api-Key: {PLANTED}",
        f"access_token={PLANTED}",
        f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----",
        f"https://hooks.slack.com/services/T0/B0/{PLANTED}",
        f"apiKey%3D{PLANTED}",
        f"Location: //me:{PLANTED}@host.test/next",
        f"HTTPS_PROXY=me:{PLANTED}@proxy.test:8080",
        f"https://app.azurewebsites.net/api/games?code={PLANTED}{PLANTED}&page=1",
        f"Passwort: {PLANTED}",
        f"contrasena={PLANTED}",
    ],
)
def test_a_secret_is_masked_in_every_place_where_one_is_found_in_practice(text):
    assert PLANTED not in redact(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_a_secret_stays_as_it_is(text):
    assert redact(text) == text
    assert redact_value({"text": text}) == {"text": text}


def test_the_login_that_a_mail_server_echoes_is_masked():
    login = base64.b64encode(b"\0me\0" + PLANTED.encode()).decode()
    assert login not in redact(f"500 5.5.1 unknown command: AUTH PLAIN {login}")


def test_no_shape_in_which_a_secret_is_written_shows_it():
    random_ = random.Random(7)
    shown = [
        (shape, text, redact(text))
        for is_key in (True, False)
        for secret in [a_key(random_) if is_key else a_password(random_)]
        for shape, text in texts_with(secret, is_key=is_key)
        if any(form in redact(text) for form in forms_of(secret))
    ]
    assert shown == []


def test_no_structure_shows_a_secret_and_what_is_left_is_json():
    for name in NAMES:
        for shape, value in structures_with(name, PLANTED):
            told = json.dumps(redact_value(value))
            assert PLANTED not in told, (shape, name)


def test_header_objects_models_and_dataclasses_are_redacted_as_structures():
    @dataclasses.dataclass
    class Login:
        user: str
        smtp_password: str

    message = email.message.Message()
    message["X-RapidAPI-Key"] = "plain"
    jar = httpx.Headers([("set-cookie", "a=plain"), ("Set-Cookie", "b=plain"), ("accept", "x")])
    told = redact_value([Login("me", "plain"), message, jar, httpx.QueryParams({"appid": "pl4nted-S3cret", "d": "1"})])
    assert told == [
        {"user": "me", "smtp_password": "***"},
        {"X-RapidAPI-Key": "***"},
        {"set-cookie": "***", "accept": "x"},
        {"appid": "***", "d": "1"},
    ]


def test_an_object_that_cannot_be_shown_does_not_stop_redaction():
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError(PLANTED)

        def items(self) -> object:
            raise RuntimeError

    endless: list[object] = []
    endless.append(endless)
    told = json.dumps(redact_value({"a": Broken(), "b": endless, "c": float("nan")}))
    assert "Broken without text: RuntimeError" in told
    assert PLANTED not in told


ENCODERS = {
    "as it is": lambda secret: secret,
    "quoted": lambda secret: urllib.parse.quote(secret, safe=""),
    "quoted, slashes left": urllib.parse.quote,
    "quoted in lower case": lambda secret: (
        urllib.parse.quote(secret, safe="").replace("%2F", "%2f").replace("%3C", "%3c")
    ),
    "every byte quoted": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    "quoted twice": lambda secret: urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
    "quoted with plus": urllib.parse.quote_plus,
    "HTML": html.escape,
    "HTML by number": lambda secret: "".join(f"&#{ord(char)};" for char in secret),
    "HTML by hexadecimal number": lambda secret: "".join(f"&#x{ord(char):X};" for char in secret),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON with slashes escaped": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)),
    "JSON of HTML": lambda secret: json.dumps(html.escape(secret)),
    "JSON by number": lambda secret: "".join(f"\\u{ord(char):04x}" for char in secret),
    "repr of bytes": lambda secret: repr(secret.encode()),
    "quoted-printable": lambda secret: quopri.encodestring(secret.encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "hexadecimal in capitals": lambda secret: secret.encode().hex().upper(),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("secret", ["Tr0ub4dor&3/x<y>", "q\"uo\\te's 0f=a key", "pässwört-日本-0815"])
def test_a_registered_secret_is_found_in_every_encoding(secret, encoder):
    register_secret(secret)
    encoded = ENCODERS[encoder](secret)
    told = redact(f"before {encoded} after")
    assert encoded.strip("b'\"=\n") not in told
    assert told.startswith("before ")
    assert told.endswith(" after")
    assert "***" in told


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "u", "us", "user:", "a longer text before it, "])
def test_a_registered_secret_is_found_in_base64_at_every_alignment(encode, before):
    secret = "Tr0ub4dor&3/+x?>~"
    register_secret(secret)
    told = redact(f"before {encode(f'{before}{secret} and after'.encode()).decode()}")
    assert "***" in told
    known = before.encode()
    for start in range(len(secret) - 5):
        inner = base64.b64encode(b"\0" * (len(known) % 3) + secret.encode())[start + 4 : start + 12].decode()
        assert inner not in told


def test_a_registered_secret_is_masked_in_bytes_and_nothing_else_of_them_changes():
    secret = "Tr0ub4dor&3/x"
    body = b'\xff\x00{"a": "\xc3\xa9", "next": "?key=%54r0ub4dor%263%2Fx&b=%20", "k": "Tr0ub4dor&amp;3\\/x"}\r\n'
    assert masked_in(body, secret) == (b'\xff\x00{"a": "\xc3\xa9", "next": "?key=***&b=%20", "k": "***"}\r\n')
    assert masked_in(body, "another-secret") is body


def test_of_what_servers_hand_out_the_latest_are_kept():
    register_secret("kept-for-ever-01")
    for number in range(400):
        register_passing_secret(f"cookie-value-{number:04}")
    assert redact("kept-for-ever-01 cookie-value-0399") == "*** ***"
    assert redact("cookie-value-0001") == "cookie-value-0001"


def test_every_token_that_detect_secrets_knows_is_masked():
    """Its patterns make the tokens; what is left of one is at most a rest that its pattern allows at the edges."""
    plugins = pytest.importorskip("detect_secrets.core.plugins.util").get_mapping_from_secret_type_to_class()
    shown = []
    for kind, plugin in sorted(plugins.items()):
        patterns = getattr(plugin, "denylist", None)
        if not isinstance(patterns, list | tuple) or kind in ORACLE_HAS_NO_TOKEN:
            continue
        for pattern in patterns:
            for seed in range(5):
                if pattern.pattern.startswith(
                    "aws."
                ):  # anything between a name and a value: here they stand side by side
                    continue
                token = _made_by(pattern, random.Random(seed))
                if pattern.search(token) and redact(f"got {token} here") == f"got {token} here":
                    shown.append((kind, token))
    assert shown == []


# An address is no secret; a name is one here only with a value.
ORACLE_HAS_NO_TOKEN = ("Public IP (ipv4)", "Secret Keyword")


def _made_by(pattern: re.Pattern[str], random_: random.Random) -> str:
    """A text that ``pattern`` matches, from its parsed form."""
    parser: Any = importlib.import_module("re._parser")
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    def of(tokens: Any) -> str:
        return "".join(one(str(operation), argument) for operation, argument in tokens)

    def one(operation: str, argument: Any) -> str:
        if operation == "LITERAL":
            return chr(argument)
        if operation == "NOT_LITERAL":
            return "x"
        if operation == "ANY":
            return "."
        if operation == "IN":
            usual = [char for char in letters if _is_in(char, argument)]
            return random_.choice(usual or [char for char in "-_+/=:. '\"" if _is_in(char, argument)] or [" "])
        if operation in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = argument
            return "".join(
                of(inner) for _ in range(max(least, min(most, (12 if str(inner[0][0]) == "IN" else 3) if least else 1)))
            )
        if operation == "SUBPATTERN":
            return of(argument[3])
        if operation == "BRANCH":
            return of(random_.choice(argument[1]))
        return ""

    return of(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)).strip()


def _is_in(char: str, allowed: Any) -> bool:
    if str(allowed[0][0]) == "NEGATE":
        return not _is_in(char, allowed[1:])
    for operation, argument in allowed:
        name = str(operation)
        if name == "LITERAL" and chr(argument) == char:
            return True
        if name == "RANGE" and argument[0] <= ord(char) <= argument[1]:
            return True
        if name == "CATEGORY":
            kind = str(argument)
            if (kind.endswith("DIGIT") and char.isdigit()) or (
                kind.endswith("WORD") and (char.isalnum() or char == "_")
            ):
                return True
    return False


@pytest.mark.parametrize("cut", range(30, 90, 3))
def test_a_text_is_cut_before_it_is_searched_and_never_in_the_middle_of_a_secret(cut):
    register_secret("Tr0ub4dor-and-3-more-words")
    text = "0123456789" * 4 + " Tr0ub4dor-and-3-more-words token=abc " + "9" * 20_000 + " apiKey=late"
    told = redact(text, max_chars=cut)
    assert redact(text).startswith(told)
    assert "Tr0ub" not in told
    assert len(told) <= cut + len("***")


def test_a_key_longer_than_what_is_kept_is_masked_as_a_whole():
    text = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0B\n" * 2_000
    assert redact(f"key {text}", max_chars=200) == "key ***"


def test_a_registered_secret_is_masked_wherever_it_is_quoted():
    register_secret("Tr0ub4dor&3/x")
    assert redact("a Tr0ub4dor&3/x b Tr0ub4dor%263%2Fx c") == "a *** b *** c"


def test_secrets_in_dict_keys_and_below_sensitive_names_are_masked():
    masked = json.dumps(
        redact_value({f"apiKey={PLANTED}": 1, "X-Api-Key": [PLANTED], "a": {"cookies": {"s": PLANTED}}})
    )
    assert PLANTED not in masked


@given(st.text(max_size=300))
def test_redaction_never_fails_and_is_stable(text):
    once = redact(text)
    assert redact(once) == once


def test_a_log_record_and_its_traceback_are_redacted(caplog):
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "url %s", (f"https://a.test/?apiKey={PLANTED}",), None)
    try:
        raise ValueError(f"password={PLANTED}")
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    assert RedactingFilter().filter(record)
    assert PLANTED not in logging.Formatter().format(record)


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("%d rows", (f"password={PLANTED}",)),
        ("%s and %s", (f"password={PLANTED}",)),
        ("no place", (f"password={PLANTED}",)),
        ("%(name)s", ({"other": f"password={PLANTED}"},)),
        (f"100 % of apiKey={PLANTED}", ("x",)),
        (ValueError(f"token={PLANTED}"), ()),
        ({"apiKey": PLANTED}, ()),
        ("%s", ({b"X-Api-Key": PLANTED.encode()},)),
        ("%s", ([("authorization", PLANTED)],)),
        ("%r", (httpx.Headers({"x-api-key": PLANTED}),)),
    ],
)
def test_a_malformed_log_record_passes_the_filter_without_its_secret(message, args):
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, message, args, None)
    record.exc_info = (ValueError, None, None)
    record.stack_info = f"token={PLANTED}"
    record.headers = {"cookie": PLANTED}
    assert RedactingFilter().filter(record)
    told = logging.Formatter("%(message)s %(headers)s").format(record)
    assert PLANTED not in told + str(record.__dict__)


def test_a_record_whose_parts_raise_is_still_logged():
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError(PLANTED)

    for message, args, info in (
        ("%s", (Broken(),), None),
        (Broken(), (), True),
        ("x", (), "no tuple"),
        (None, None, 7),
    ):
        record = logging.LogRecord("x", logging.ERROR, "f.py", 1, message, args, None)
        record.exc_info = info
        assert RedactingFilter().filter(record)
        assert PLANTED not in record.getMessage()


def test_a_record_without_a_secret_keeps_its_arguments():
    record = logging.LogRecord("uvicorn.access", logging.INFO, "f.py", 1, "%s %d", ("GET", 200), None)
    RedactingFilter().filter(record)
    assert record.args == ("GET", 200)


def test_an_incident_holds_no_secret_from_message_facts_traceback_or_hint():
    try:
        raise ConnectionError(f"https://u:{PLANTED}@a.test/?token={PLANTED} refused; password='{PLANTED}'")
    except ConnectionError as error:
        incident = Incident.from_error(error, source="nba", headers={"Authorization": PLANTED}, url=f"?sig={PLANTED}")
    assert PLANTED not in incident.to_json().decode()
    assert "test_redaction.py" in incident.traceback


STEERING = "\x1b[2J\x1b]0;title\x07\x9b31m\x08\x7f\r\u202egnp.exe\u2066\u200f\u061c"


def test_what_steers_a_terminal_or_turns_the_direction_is_shown_as_its_code():
    told = printable(f"a\tb\n{STEERING} token=abc \U0001f468\u200d\U0001f469 ñ")
    assert told.startswith("a\tb\n\\u001b[2J\\u001b]0;title\\u0007\\u009b31m\\u0008\\u007f\\u000d\\u202egnp.exe")
    assert told.endswith("token=*** \U0001f468\u200d\U0001f469 ñ")
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "%s", (STEERING,), None)
    RedactingFilter().filter(record)
    assert not set(record.getMessage()) & set(STEERING) - set("[2J]0;title31mgnp.exe")


def test_no_steering_character_of_an_error_is_in_the_mail():
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    facts = RunFacts(source="s", backfill_id="b", notes=[STEERING], finished_at=now, owner=STEERING)
    rendered = render(facts, [Incident.of({"error": f"boom {STEERING}", "date": "2025-01-01", "hint": STEERING})])
    steering = set(STEERING) - set("[2J]0;title31mgnp.exe")
    for text in (rendered.subject, rendered.text, rendered.html):
        assert not steering & set(text)


def test_a_secret_of_four_characters_is_masked_and_a_shorter_one_may_be_a_word():
    for secret in ("x7-q", "cat"):
        register_secret(secret)
    assert redact("sent x7-q to the cat") == "sent *** to the cat"


def test_a_text_that_was_shown_before_its_secret_was_known_is_masked_from_then_on():
    text = "the pass phrase of the vault: correct horse battery"
    assert redact(text) == redact(text) == text
    register_secret("correct horse battery")
    assert redact(text) == redact(text) == "the pass phrase of the vault: ***"
    assert redact(text, 12) == text[:12]


def test_however_many_texts_are_masked_few_of_them_are_remembered(monkeypatch):
    monkeypatch.setattr(redaction, "_MOST_REMEMBERED", 3)
    texts = [f"password=pl4nted-{number}" for number in range(10)]
    assert [redact(text) for text in texts * 2] == ["password=***"] * 20
    assert len(redaction._remembered[1]) <= 3
