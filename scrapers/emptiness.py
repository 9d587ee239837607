"""What an answer without rows says beside them: "maintenance" in any language is no proof that there are none. Pure.

Words are not read, as there are too many languages of them: that there are some where the scraper knows of none is
enough.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from alerting.errors import NothingPublished
from alerting.redaction import one_line, redact
from scrapers.json_bodies import landed_json

# By their letters alone, and at any place that is about the answer.
_SPEAKS = re.compile(
    r"(?:status|state|error|warning|user|display|system|server|api|response)?"
    r"(?:messages?|msgs?|notices?|notes?|infos?|information|details?|hints?|reasons?|warnings?|errors?|text|description)"
)
_SAYS_WELL = re.compile(r"(?i)\s*(?:ok(?:ay)?|success(?:ful(?:ly)?)?|succeeded|done|none|null|no errors?)?[\s.!]*")
_DEEPEST = 3


def refuse_words_beside_nothing(body: bytes, envelope: Collection[str]) -> None:
    """Raises ``NothingPublished`` where a document without rows has more to say than that.

    Args:
        body: JSON that was read well.
        envelope: The fields that such a document has, ``meta.per_page`` for those of a field; () where nobody knows
            them. Then only a field that speaks to people counts.
    """
    document = landed_json(body)
    if not isinstance(document, dict):
        return
    told = next(_strangers(document, envelope, "") if envelope else _words(document, "", 1), None)
    if told is None:
        return
    name, value = told
    raise NothingPublished(
        f"the response has no rows, and says beside them {one_line(redact(f'{name}: {value}'))[:120]!r}: that is no "
        "proof of emptiness; its page is kept as evidence",
        hint="run it again later; where every response without rows says so, name the field in envelope of the scraper",
    )


def _strangers(document: Mapping[str, Any], envelope: Collection[str], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        where = f"{path}{name}"
        if where not in envelope and value not in (None, "", [], {}):
            yield where, value
        elif isinstance(value, dict) and any(known.startswith(f"{where}.") for known in envelope):
            yield from _strangers(value, envelope, f"{where}.")


def _words(document: Mapping[str, Any], path: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        where = f"{path}{name}"
        said = value if isinstance(value, list) else [value]
        if _SPEAKS.fullmatch(re.sub(r"[^a-z]", "", name.lower())) and any(
            isinstance(one, str) and _SAYS_WELL.fullmatch(one) is None for one in said
        ):
            yield where, value
        elif isinstance(value, dict) and depth < _DEEPEST:
            yield from _words(value, f"{where}.", depth + 1)
