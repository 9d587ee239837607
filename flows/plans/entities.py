"""Which entities a run was asked for: the counterpart of a range of dates for sources that have none. Pure."""

from __future__ import annotations

import re

from alerting.errors import ConfigurationError
from alerting.ranges import expand_dates
from scrapers.base import Scraper
from scrapers.partition import VARIANT_MARK, Partition

ALL = "all"
# Names become parts of object names, host names and command lines. An object name has room for 1,024 bytes, of which
# the layout takes about 250: https://cloud.google.com/storage/docs/objects#naming
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
MAX_NAME_CHARS = 200


def requested_entities(scraper: Scraper, entities: str, exclude: str = "") -> list[Partition]:
    """The whole-entity partitions of ``entities``, sorted by key.

    Args:
        scraper: Declares what ``all`` means, and the variants (kinds of documents).
        entities: Names separated by commas, or ``all``. A name alone means all its variants, ``name~variant`` one of
            them; ``all~variant`` is that variant of every entity. The form in which mails name them is accepted.
        exclude: Written the same way; not these.

    Raises ``ConfigurationError`` for nothing, an impossible name or an unknown variant. A name that the scraper does
    not declare is taken: the source itself knows whether it exists.
    """
    wanted = _keys(scraper, "entities", entities)
    if not wanted:
        raise _bad(scraper, f"{scraper.source} is asked by entity and not by date, and no entity was named", "all")
    wanted -= _keys(scraper, "exclude", exclude)
    if not wanted:
        raise _bad(scraper, "every entity is excluded", entities)
    return [Partition.whole(key, scraper.zone) for key in sorted(wanted)]


def names_all(entities: str) -> bool:
    """Whether the text asks for every entity, of one kind of document or of all.

    >>> names_all("all"), names_all("all~minutes"), names_all("allen.tx, alameda.ca")
    (True, True, False)
    """
    return any(item.partition(VARIANT_MARK)[0].strip() == ALL for item in entities.split(","))


def _keys(scraper: Scraper, parameter: str, text: str) -> set[str]:
    keys: set[str] = set()
    for item in expand_dates(text):
        name, _, variant = item.partition(VARIANT_MARK)
        _check_name(scraper, parameter, name)
        if variant and variant not in scraper.variants:
            known = ", ".join(scraper.variants) or "none"
            raise _bad(scraper, f"{parameter}: {item!r} names no known kind of document (known: {known})", name)
        variants = (variant,) if variant else scraper.variants
        for entity in scraper.entities if name == ALL else (name,):
            # Those of the settings and of the scraper too: each becomes a path, whoever wrote it.
            _check_name(scraper, parameter if entity == name else f"{parameter}, from what `all` means", entity)
            keys.update(f"{entity}{VARIANT_MARK}{one}" for one in variants)
            if not variants:
                keys.add(entity)
    return keys


def _check_name(scraper: Scraper, parameter: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _bad(scraper, f"{parameter}: {name[:60]!r} cannot be the name of an entity", "town.state, town.state")
    if len(name) > MAX_NAME_CHARS:
        told = f"{name[:40]}... has {len(name)} characters, {MAX_NAME_CHARS} are possible"
        raise _bad(scraper, f"{parameter}: the name of an entity is too long: {told}", "town.state, town.state")


def _bad(scraper: Scraper, what: str, example: str) -> ConfigurationError:
    hint = f"entities='{example}'" if example else ""
    return ConfigurationError(f"{what}. Nothing was done", source=scraper.source, stage="plan", hint=hint)
