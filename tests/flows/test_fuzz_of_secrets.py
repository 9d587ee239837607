"""Secrets in every shape, put where errors and settings put them, and looked for in everything that Gapless leaves.

`make fuzz` plants 100,000; a unit test as many as fit into seconds.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import io
import itertools
import json
import logging
import os
import random
from collections.abc import Callable, Iterator

import pytest
from secret_cases import a_key, a_password, forms_of, texts_with

from alerting.errors import PipelineError, SourceUnavailable
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.memory_store import MemoryObjectStore
from alerting.message import plain_mail, summary_mail, to_bytes
from alerting.outbox import OutboxEntry
from alerting.redacted_errors import redacted_error
from alerting.redaction import printable, redact_record, redact_value
from alerting.run_facts import Command, RunFacts
from alerting.summary import render
from flows.cli.output import show, show_error
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.run.result_artifacts import attention_rows, calendar_markdown
from scrapers.answers import excerpt, kept_headers

NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)
BATCH = 100


class ForeignError(Exception):
    """As a library raises it."""


@dataclasses.dataclass(frozen=True)
class Plant:
    """One text with a secret in it, and where it came from."""

    secret: str
    shape: str
    text: str
    place: str


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def in_locals(text: str) -> Exception:
    def failing(body: str) -> None:
        kept = {"body": body, "headers": {"x": body}}
        raise ForeignError(f"unexpected {kept!r}"[: 4 * len(body) + 200])

    with contextlib.suppress(ZeroDivisionError):
        try:
            failing(text)
        except ForeignError as error:
            return error
    raise AssertionError


PLACES: dict[str, Callable[[str], Exception]] = {
    "exception": lambda text: raised(ForeignError(f"it failed\n{text}\nat last")),
    "cause": lambda text: _caused(text),
    "body": lambda text: raised(SourceUnavailable("503", source="s", body=excerpt(text.encode("utf-8", "replace")))),
    "header": lambda text: raised(SourceUnavailable("503", headers=kept_headers({"link": text, "x-info": text}))),
    "locals": in_locals,
    "settings error": lambda text: raised(
        PipelineError(f"GAPLESS_X is not JSON:\n{text}", stage="settings", hint=text)
    ),
    "job variable": lambda text: raised(ForeignError(str({"env": {"GAPLESS_NOTE": text}}) + "\n" + text)),
    "Prefect parameter": lambda text: raised(ForeignError(f"parameters:\n{text}")),
    "artifact": lambda text: raised(PipelineError(text, source="s", partition="2025-01-03", stage="load")),
    "object metadata": lambda text: raised(PipelineError("not written", metadata={"error": text, "n": 1})),
}


def _caused(text: str) -> Exception:
    try:
        raise ForeignError(text)
    except ForeignError as inner:
        try:
            raise RuntimeError("outer") from inner
        except RuntimeError as outer:
            return outer


def plants(seed: int) -> Iterator[Plant]:
    """Without end: every shape with a key, then with a password, each time in the next place."""
    random_, places = random.Random(seed), itertools.cycle(PLACES)
    while True:
        for is_key in (True, False):
            secret = a_key(random_) if is_key else a_password(random_)
            shapes = list(texts_with(secret, is_key=is_key))
            random_.shuffle(shapes)
            for shape, text in shapes:
                yield Plant(secret, shape, text, next(places))


def left_by(batch: list[Plant]) -> dict[str, str]:
    """Everything that may be seen after these errors, by where it is seen."""
    store = MemoryObjectStore()
    errors = [PLACES[plant.place](plant.text) for plant in batch]
    incidents = [Incident.from_error(error, source="s", partition="2025-01-03") for error in errors]
    incidents += [Incident.of({"error": plant.text, "details": {"seen": plant.text}}) for plant in batch[:10]]
    IncidentJournal(store).append("b", "w", 1, incidents, writer="x")
    texts = [plant.text for plant in batch[:10]]
    facts = RunFacts(
        source="s",
        backfill_id="b",
        owner=texts[0],
        reason=texts[-1],
        notes=texts,
        commands=[Command(texts[0], why=texts[-1])],
        schema_drift=texts[:3],
        finished_at=NOW,
    )
    entries = [
        LedgerEntry(
            "s", "2025-01-03", Verdict.FAILED_RETRYABLE, "b", NOW, error_type=type(error).__name__, error=str(error)
        )
        for error in errors
    ]
    rendered = render(facts, incidents)
    outbox = OutboxEntry("b", source="s")
    mail = to_bytes(summary_mail(outbox, rendered, NOW)) + to_bytes(plain_mail(texts[0], "\n".join(texts)))
    clean = [redacted_error(error) for error in errors]
    records = [
        redact_record(
            logging.LogRecord(
                "prefect.task_runs", 40, "f.py", 1, "failed: %r", (error,), (type(error), error, error.__traceback__)
            )
        )
        for error in (PLACES[plant.place](plant.text) for plant in batch[:20])
    ]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        show({"errors": texts, "by": dict.fromkeys(texts[:3], 1)}, [], as_json=True)
        show({}, texts, as_json=False)
        for error in errors[:10]:
            show_error(error, as_json=False)
    return {
        "mail": rendered.subject + rendered.text + rendered.html + mail.decode("utf-8", "replace"),
        "incidents": "".join(one.to_json().decode() for one in incidents),
        "journal": "".join(store.read(found.name)[0].decode("utf-8", "replace") for found in store.list("")),
        "outbox": json.dumps(redact_value(dataclasses.asdict(outbox)), default=str),
        "record": json.dumps(facts.redacted().to_dict(), default=str),
        "ledger": "".join(json.dumps(entry.to_metadata()) for entry in entries),
        "artifacts": printable(calendar_markdown(facts.redacted())) + str(attention_rows({"2025-01-03": "failed"}, {})),
        "Prefect logs": "".join(logging.Formatter().format(record) for record in records),
        "Prefect states": "".join(f"{error} {error!r}" for error in clean),
        "status output": shown.getvalue(),
    }


def found_in(batch: list[Plant]) -> list[tuple[str, str, str, str]]:
    """Where a secret was found, with shape and place."""
    found = []
    left = left_by(batch)
    for plant, (where, text) in itertools.product(batch, left.items()):
        if any(form in text for form in forms_of(plant.secret)):
            found.append((where, plant.place, plant.shape, plant.text[:200]))
    return found


def run(count: int, seed: int) -> tuple[list[tuple[str, str, str, str]], collections.Counter[str]]:
    found, counts = [], collections.Counter[str]()
    source = plants(seed)
    for _ in range(0, count, BATCH):
        batch = list(itertools.islice(source, BATCH))
        found += found_in(batch)
        counts.update(f"place: {plant.place}" for plant in batch)
        counts.update(f"shape: {plant.shape.partition(':')[0]}" for plant in batch)
        if found:
            break
    return found, counts


def test_planted_secrets_are_found_nowhere() -> None:
    found, counts = run(600, seed=11)
    assert found == []
    assert len([name for name in counts if name.startswith("place")]) == len(PLACES)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_planted_secrets_are_found_nowhere() -> None:
    found, counts = run(int(os.environ.get("GAPLESS_FUZZ", "100000")), seed=12)
    print("\n" + "\n".join(f"{count:8,}  {name}" for name, count in sorted(counts.items())))
    assert found == []
