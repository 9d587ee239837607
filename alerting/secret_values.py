"""Finds the values that stand under the name of a secret, in whatever notation. Pure.

The names are found first, so a text without any costs one search. What follows a name is read by the notation it is in:
assignment, JSON, header, cookie, query, XML, pair, form field, option of a command.
"""

from __future__ import annotations

import re

from alerting.randomness import DATE, NUMBER, looks_random
from alerting.secret_names import STEM, NameKind, is_plural, kind_of_name, words
from alerting.unescaping import Span

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]*+")
_IDENTIFIER_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_LONGEST_NAME = 80
# What a name promises is searched no further, so a text of nothing but names takes time in proportion to its length.
_LONGEST_ELEMENT = 4_000
_LONGEST_GROUP = 4_000
_DEEPEST_GROUP = 20
_LONGEST_GUESS = 200

_SEPARATOR = re.compile(
    r"""[ \t]{0,4}+(?P<close>\\{0,4}["'`]?[\])]?)[ \t]{0,8}+"""
    r"""(?P<sep>=>|->|:=|={1,2}|:(?![:/]{1,2})|\|)(?P<gap>\s{0,80}+)"""
)
_PAIR = re.compile(r"""["'`]\s{0,8}+,\s{0,8}+(?=[bBuUrR]{0,2}["'`])""")
_OPENING_OF_PAIR = re.compile(r"""(?P<bracket>[(\[])\s{0,8}+[bBuUrR]{0,2}["'`]\Z""")
_NAMED_VALUE = re.compile(
    r"""(?i)["'][\s,;]{1,8}+["']?(?:value|val|content|data)["']?\s{0,4}+[:=]\s{0,4}+(?=[bu]?["'])"""
)
_FORM_FIELD = re.compile(r"""["']\r?\n(?:[\w-]{1,80}:[^\r\n]{0,400}\r?\n){0,8}\r?\n(?P<value>[^\r\n]++)""")
_ELEMENT = re.compile(r"[^<>]{0,400}+(?<!/)>\s{0,80}+")
_QUOTE = re.compile(r"""[bBrRuUfF]{0,2}("{3}|'{3}|["'`])""")
_BLOCK = re.compile(r"[|>][+-]?[ \t]{0,8}+\r?\n(?P<value>(?:[ \t]+\S[^\n]*+\n?)++)")
_SCHEME = re.compile(
    r"(?i)(?:bearer|basic|digest|token|negotiate|ntlm|api-?key|key|hawk|oauth|aws4-hmac-sha256|signature)[ \t]{1,4}+"
)
_FREE_SCHEME = re.compile(r"(?i)(?<![A-Za-z0-9_])(bearer|basic|token|digest)(?:%20|[ \t+])(?=[^\s,;:)\"']*[\d=_./+-])")
_PARAMETER = re.compile(r"""\s{0,4}+,\s{0,4}+[\w-]{1,40}+\s{0,2}+=\s{0,2}+(?:"[^"\r\n]{0,4000}+"|[^\s,"']{0,4000}+)""")
_COOKIE_PAIR = re.compile(
    r"""[!#$%&*+.^_|~0-9A-Za-z-]{1,256}+\s{0,2}+=\s{0,2}+"""
    r"""(?:"(?:[^"\\\r\n]|\\.)*+"|[A-Za-z]{3},\s[\w: -]{10,30}GMT|[^\s;,"'<>]*+)"""
)
_COOKIE_ATTRIBUTE = re.compile(r"(?i)\s{0,4}+;\s{0,4}+(?:httponly|secure|partitioned)\b")
_COOKIE_NEXT = re.compile(r"\s{0,4}+;\s{0,4}+")
_COOKIE_OBJECT = re.compile(r"\s[^\s=<>]{1,256}+=[^\s<>]*+(?=\s+for\s)")
_SAID = re.compile(r"(?i)[\"'`]?\]?[ \t]{1,8}+(?:(?:is|was|of|to|with|as)[ \t]{1,2}+)?(?=[^\s])")

_PLACEHOLDER = re.compile(
    r"(?i)\*+|\.{2,}|…|<[\w .:-]{0,60}>|\$\{\w*\}|\$\(.*\)|\{\{.*\}\}|\{[\w.!:]*\}|%s|%\(\w+\)s|x{3,}|_+|-+"
    r"|\[(?:secure|redacted|hidden|masked|filtered)\]|(?:pydantic\.)?secret(?:str|bytes)\(b?['\"]\**['\"]\)"
)
_VARIABLE = re.compile(r"\$[A-Z][A-Z0-9_]*")
_CODE = re.compile(
    r"(?:self|cls|settings|os|config|args|kwargs|secrets)\.\w.*|[a-z_]{2,40}(?:\.[a-z_]{2,40})*\([\w., \"'=]*\)"
)
_HARMLESS = words(
    "none null nil true false yes no not empty missing invalid expired required optional unset set unknown wrong "
    "rejected refused revoked disabled enabled default redacted hidden masked str bytes int bool string secretstr "
    "any object is was are has and or the a an in on of for to with from by at as it this that undefined nan absent "
    "present ok fail failed denied unauthorized forbidden"
)
_WORD = re.compile(r"[A-Za-z]?[a-z]*[.,;:!?)]?")
_PROSE_NEXT = re.compile(r"[ \t]+(?:[a-z]+|I|\d+|[a-z][\w-]*)(?=[\s.,;:!?)]|\Z)")
_NEXT_PARAMETER = re.compile(r"(?:amp;)?[\w.%\[\]-]{1,80}=|\Z|[\s\"'<>]")
_NEXT_FIELD = re.compile(r"[ \t]*[\w.-]{1,80}[\"']?[ \t]*[=:]|\Z|\s|[\"'\[({]")
_AFTER_BRACKET = re.compile(r"\Z|[\s.,;:)\]}>\"'&]")
_RUN = re.compile(r"""[^\s"'`&;,)\]}><]++""")


def named_spans(text: str) -> list[Span]:
    """Where the values of secrets stand in ``text``. Their quotes and names are not part of it."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a Turkish capital I grows
        lowered = "".join(char.lower() if char.isascii() else char for char in text)
    spans: list[Span] = []
    if "bearer" in lowered or "basic" in lowered or "token" in lowered or "digest" in lowered:
        spans += _free_schemes(text)
    at = 0
    while stem := STEM.search(lowered, at):
        start = stem.start()
        while start > at and text[start - 1] in _IDENTIFIER_CHARS:
            start -= 1
        found = _IDENTIFIER.match(text, stem.start())
        end = found.end() if found else stem.end()
        at = end
        if end - start > _LONGEST_NAME:
            continue
        kind = kind_of_name(text[start:end])
        if kind:
            below = _below(text, start, end, kind)
            spans += below
            at = max([end, *(stop for _, stop in below)])
    return spans


def _free_schemes(text: str) -> list[Span]:
    """``Bearer xyz`` wherever it stands."""
    spans = []
    for match in _FREE_SCHEME.finditer(text):
        start, end = match.end(), _end_of_run(text, match.end())
        value = text[start:end]
        if len(value) >= 6 and (looks_random(value) or (len(value) >= 16 and not _WORD.fullmatch(value))):
            spans.append((start, end))
    return spans


def _below(text: str, start: int, end: int, kind: NameKind) -> list[Span]:
    """The secret that belongs to the name at ``start:end``, if there is one."""
    before = text[start - 1 : start]
    name = text[start:end]
    if before == "<" or (before == ":" and "<" in text[max(0, start - 40) : start]):
        if kind == "cookie" and (cookie := _COOKIE_OBJECT.match(text, end)):
            return [(text.index("=", cookie.start()) + 1, cookie.end())]
        if element := _element(text, end, name, kind):
            return element
    separator = _SEPARATOR.match(text, end)
    if separator:
        return _assigned(text, start, separator, kind, name)
    if before in ('"', "'", "`") and (quoted := _quoted_name(text, start, end, kind, name)):
        return quoted
    if name.startswith("-") and text[end : end + 1] in (" ", "\t"):
        return _judged(text, end + 1, kind, name, by="option")
    said = _SAID.match(text, end)
    if said and kind in ("certain", "authorization"):
        if quote := _QUOTE.match(text, said.end()):
            stop = _end_of_quoted(text, quote.end(), quote[1])
            return [(quote.end(), stop)] if looks_random(text[quote.end() : stop]) else []
        stop = _end_of_run(text, said.end())
        value = text[said.end() : stop].rstrip(".")
        if len(value) >= 8 and looks_random(value) and sum(char.isdigit() for char in value) >= 2:
            return [(said.end(), said.end() + len(value))]
    return []


def _element(text: str, end: int, name: str, kind: NameKind) -> list[Span]:
    opened = _ELEMENT.match(text, end)
    if not opened:
        return []
    start = opened.end()
    if text.startswith("<![CDATA[", start):
        start += 9
        stop = text.find("]]>", start, start + _LONGEST_ELEMENT)
    else:
        stop = text.find("</", start, start + _LONGEST_ELEMENT)
        if text[start : start + 1] == "<":
            # Elements within: all of them, when the closing one is near.
            closing = text.find(f"{name}>", start, start + _LONGEST_ELEMENT)
            stop = text.rfind("</", start, closing) if closing >= 0 else -1
            return [(start, stop)] if stop > start and kind == "certain" else []
    stop = stop if stop >= 0 else min(len(text), start + _LONGEST_ELEMENT)
    value = text[start:stop].rstrip()
    return [(start, start + len(value))] if value and _is_secret(value, kind, name, "quote", "") else []


def _quoted_name(text: str, start: int, end: int, kind: NameKind, name: str) -> list[Span]:
    if value := _NAMED_VALUE.match(text, end):
        return _judged(text, value.end(), kind, name, by="quote")
    if field := _FORM_FIELD.match(text, end):
        return [field.span("value")] if not _PLACEHOLDER.fullmatch(field["value"]) else []
    pair = _PAIR.match(text, end)
    opening = _OPENING_OF_PAIR.search(text, max(0, start - 12), start) if pair else None
    if pair and opening:
        spans = _judged(text, pair.end(), kind, name, by="quote")
        # Two quoted words in a list may as well be two names.
        return [
            (begin, stop)
            for begin, stop in spans
            if opening["bracket"] == "(" or not re.fullmatch(r"[a-z_]+", text[begin:stop])
        ]
    return []


def _assigned(text: str, start: int, separator: re.Match[str], kind: NameKind, name: str) -> list[Span]:
    at, sep, gap = separator.end(), separator["sep"], separator["gap"]
    if "\n" in gap:
        # On the next line: only what is plainly a value there.
        quoted = _QUOTE.match(text, at) or text[at : at + 1] in ("[", "{")
        if not (quoted or (sep == ":" and _is_indented_below(text, start, at))):
            return []
    if sep == ":" and (block := _BLOCK.match(text, at)):
        return [block.span("value")]
    if sep == "|" or (sep in ("->", "==") and not separator["close"]):
        by = "guess"
    elif sep == "=" and text[start - 1 : start] in ("?", "&"):
        by = "query"
    else:
        by = "equals" if "=" in sep else "colon"
    return _judged(text, at, kind, name, by=by)


def _is_indented_below(text: str, start: int, at: int) -> bool:
    """A value alone on its line, deeper than its name."""
    line = text.rfind("\n", 0, start) + 1
    below = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    value = text[at : end if end >= 0 else len(text)]
    return at - below > start - line and len(value.split()) == 1


def _judged(text: str, at: int, kind: NameKind, name: str, *, by: str) -> list[Span]:
    """The value that begins at ``at``, if it is a secret."""
    quote = _QUOTE.match(text, at)
    if quote:
        start = quote.end()
        end = _end_of_quoted(text, start, quote[1])
        value = text[start:end]
        if value[:1] in ("{", "[") and value[-1:] in ("}", "]"):
            return _group(text, start, end, kind)
        if kind == "cookie" and "=" in value:
            return [(start, end)] if not _PLACEHOLDER.fullmatch(value.partition("=")[2]) else []
        return [(start, end)] if _is_secret(value, kind, name, "quote", "") else []
    if text[at : at + 1] in ("[", "{", "(") and not _PLACEHOLDER.fullmatch(text[at : _end_of_run(text, at, at + 80)]):
        end = _end_of_group(text, at)
        if end > at:
            return _group(text, at, end, kind)
    if kind == "authorization":
        return _credentials(text, at)
    if kind == "cookie":
        return _cookies(text, at)
    is_guess = kind == "likely" or by == "guess"
    end = _end_of_run(text, at, at + _LONGEST_GUESS if is_guess else len(text))
    if is_guess and end - at >= _LONGEST_GUESS:  # so long without a space: no word, and no number
        return [(at, _end_of_run(text, at))]
    value = text[at:end]
    if _PLACEHOLDER.fullmatch(value):
        return []
    return [(at, end)] if value and _is_secret(value, kind, name, by, text[end : end + 40]) else []


def _credentials(text: str, at: int) -> list[Span]:
    """The value of an ``Authorization`` header: scheme, credentials, further parameters."""
    scheme = _SCHEME.match(text, at)
    start = scheme.end() if scheme else at
    quote = _QUOTE.match(text, start)
    if quote:
        return [(quote.end(), _end_of_quoted(text, quote.end(), quote[1]))]
    end = _end_of_run(text, start)
    value, after = text[start:end], text[end : end + 40]
    if not value or _PLACEHOLDER.fullmatch(value) or value.lower() in _HARMLESS:
        return []
    if _WORD.fullmatch(value) and _PROSE_NEXT.match(after):
        return []
    if "=" in value and after[:1] == '"':  # Digest username="me", realm="x"
        end += 1
    while parameter := _PARAMETER.match(text, end):
        end = parameter.end()
    return [(at, end)]


def _cookies(text: str, at: int) -> list[Span]:
    """The value of a ``Cookie`` or ``Set-Cookie`` header, but not the sentence after the word."""
    pair = _COOKIE_PAIR.match(text, at)
    if not pair:
        end = _end_of_run(text, at)
        return [(at, end)] if looks_random(text[at:end]) else []
    end = pair.end()
    while True:
        if attribute := _COOKIE_ATTRIBUTE.match(text, end):
            end = attribute.end()
            continue
        following = _COOKIE_NEXT.match(text, end)
        pair = _COOKIE_PAIR.match(text, following.end()) if following else None
        if pair is None:
            return [(at, end)]
        end = pair.end()


def _group(text: str, start: int, end: int, kind: NameKind) -> list[Span]:
    """The values inside of brackets; the keys stay."""
    spans = []
    for match in _LEAF.finditer(text, start, end):
        value = match.group().strip("\"'`")
        if (
            match["key"] is not None
            or match["key2"] is not None
            or not value
            or _PLACEHOLDER.fullmatch(value)
            or value.lower() in _HARMLESS
        ):
            continue
        if (match["quoted"] is None and NUMBER.fullmatch(value)) or (kind == "likely" and not looks_random(value)):
            continue
        first, last = match.span()
        spans.append((first + 1, last - 1) if match["quoted"] is not None else (first, last))
    return spans


_LEAF = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')(?P<key>(?=\s{0,4}+:))?|(?P<bare>[^\s"'\[\](){},:=]++)(?P<key2>(?=\s{0,4}+[:=(]))?"""
)


def _is_secret(value: str, kind: NameKind, name: str, by: str, after: str) -> bool:
    bare = value.strip(" \t\r\n.,;:")
    if not bare or bare.lower() in _HARMLESS or _PLACEHOLDER.fullmatch(value) or _VARIABLE.fullmatch(bare):
        return False
    if bare == name or _CODE.fullmatch(bare):
        return False
    if is_plural(name) and NUMBER.fullmatch(bare):
        return False
    if kind == "likely":
        if NUMBER.fullmatch(bare) or DATE.fullmatch(bare):
            return False
        return by == "query" or (looks_random(bare) and not kind_of_name(bare))
    if by == "guess":
        return looks_random(bare)
    is_word = _WORD.fullmatch(value) is not None
    return not (is_word and by in ("colon", "option") and _PROSE_NEXT.match(after))


def _end_of_quoted(text: str, start: int, quote: str) -> int:
    """Where the quoted value ends: at its closing quote, or with the line where there is none."""
    at = start
    while True:
        at = text.find(quote, at)
        if at < 0:
            line = text.find("\n", start)
            return line if line >= 0 else len(text)
        escapes = 0
        while at - 1 - escapes >= start and text[at - 1 - escapes] == "\\":
            escapes += 1
        if escapes % 2 == 0:
            return at
        at += 1


def _end_of_run(text: str, start: int, limit: int | None = None) -> int:
    """Where an unquoted value ends: a password may hold ``& ; , ) ' <``, a list of values is parted by them."""
    at, length = start, min(len(text), len(text) if limit is None else limit)
    while at < length:
        run = _RUN.match(text, at, length)
        if run:
            at = run.end()
            if at >= length:
                break
        char = text[at]
        if char.isspace():
            break
        if char == "&" and _NEXT_PARAMETER.match(text, at + 1):
            break
        if char in ";," and _NEXT_FIELD.match(text, at + 1):
            break
        if char in ")]}>" and text.find(_OPENING[char], start, at) < 0 and _AFTER_BRACKET.match(text, at + 1):
            break
        if char == "<" and (text[at + 1 : at + 2] == "/" or text[at + 1 : at + 2].isalpha()):
            break
        if char in "\"'`" and not text[at + 1 : at + 2].isalnum():
            break
        at += 1
    while at > start + 1 and text[at - 1] in ".:!?" and (at == len(text) or text[at].isspace()):
        at -= 1
    return at


_OPENING = {")": "(", "]": "[", "}": "{", ">": "<"}
_OPEN = frozenset("[{(")
_BRACKET_OR_STRING = re.compile(r"""[\[\](){}]|"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'""")


def _end_of_group(text: str, start: int) -> int:
    """After the bracket that closes the one at ``start``; ``start`` where none does."""
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(text, start, min(len(text), start + _LONGEST_GROUP)):
        char = match.group()
        if char in _OPEN:
            depth += 1
            if depth > _DEEPEST_GROUP:
                return start
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return match.end()
    return start
