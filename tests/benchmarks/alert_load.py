"""Journals incidents, sends their one mail, and says what that cost: in a process of its own, for its peak memory."""

from __future__ import annotations

import datetime as dt
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from alerting.channels import Delivery
from alerting.errors import SourceUnavailable
from alerting.incident import Incident, Severity
from alerting.journal import IncidentJournal
from alerting.live_alerts import AlertSettings
from alerting.local_store import FileObjectStore
from alerting.run_facts import RunFacts
from alerting.smart_alert_manager import SmartAlertManager
from alerting.summary import encoded_size, render

WARM_UP = 500
WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")


class Taken:
    """A channel that keeps nothing but the last mail."""

    kind: Literal["mail"] = "mail"
    name = "taken"
    mail: EmailMessage | None = None

    def preflight(self) -> None:
        """Always there."""

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        self.mail = mail
        return Delivery(severity)


def incidents(count: int) -> Iterator[Incident]:
    """Ten years of dates, eight causes, an id and a URL of its own in every message, a real traceback in each."""
    rng = random.Random(20260110)
    days = [str(dt.date(2015, 1, 1) + dt.timedelta(days=number)) for number in range(3_650)]
    for number in range(count):
        day = rng.choice(days)
        told = (
            f"{rng.choice(WORDS)} in request {rng.getrandbits(64):x} on {day} at https://api.test/{number}?date={day}"
        )
        try:
            raise SourceUnavailable(told, status=503, endpoint=f"/v1/games/{number}")
        except SourceUnavailable as error:
            yield Incident.from_error(error, source="load", partition=day)


def peak_kib() -> int:
    """The most this process ever held; ``getrusage`` would name the peak of the process that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def run(count: int) -> dict[str, float]:
    """One backfill of ``count`` errors, from the first to its mail."""
    with tempfile.TemporaryDirectory() as folder:
        store, channel = FileObjectStore(f"{folder}/store"), Taken()
        manager = SmartAlertManager(
            store=store, channels=[channel], spool_folder=f"{folder}/spool", settings=AlertSettings(retry_waits_s=())
        )
        manager.enable_backfill_mode("load", source="load")
        began = time.process_time()
        for incident in incidents(count):
            manager.record_error(incident)
        manager.flush()
        recorded = time.process_time()
        mail = render(RunFacts(source="load", outcome="FAILED"), IncidentJournal(store).read("load"))
        rendered = time.process_time()
        result = manager.disable_backfill_mode()
        assert result is not None
        assert result.status == "sent"
        return {
            "record_cpu_s": recorded - began,
            "render_cpu_s": rendered - recorded,
            "html_bytes": encoded_size(mail.html),
            "causes": mail.text.count("    advice:"),
            "incidents": IncidentJournal(store).count("load"),
        }


def main() -> None:
    run(WARM_UP)
    before = peak_kib()
    found = run(int(sys.argv[1]))
    print("RESULT " + json.dumps({**found, "before_kib": before, "peak_kib": peak_kib()}))


if __name__ == "__main__":
    main()
