"""docs/one-mail.md as printed: each of its programs, in a process of its own, ends in exactly one mail."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from deployments.local.inbox.server import InboxClient

PROJECT_DIR = Path(__file__).parents[2]
PAGE = (PROJECT_DIR / "docs" / "one-mail.md").read_text()
SHORT, *PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def program(name: str) -> str:
    (found,) = [text for text in PROGRAMS if text.startswith(f'"""{name}"""')]
    return str(found)


def run(text: str, folder: Path, inbox: InboxClient, *, shared: str = "", **environment: str) -> int:
    """As a person runs it: in a folder of its own, with nothing of ours but the import path."""
    file = folder / "program.py"
    file.write_text(text)
    (folder / "ours.py").write_text(shared or program("ours.py"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GAPLESS_", "PREFECT_"))}
    given = {**kept, "PYTHONPATH": str(PROJECT_DIR), "SMTP_PORT": str(inbox.smtp_port), **environment}
    done = subprocess.run(
        [sys.executable, str(file)], cwd=folder, env=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stdout + done.stderr
    return done.returncode


FOUR_WEEKS = program("ours.py").replace("range(1, 11)", "range(1, 29)")


def the_mail(inbox: InboxClient) -> dict[str, Any]:
    (listed,) = inbox.messages()
    return inbox.message(listed["id"])


def test_the_ten_lines_are_ten_and_send_one_mail(inbox: InboxClient, tmp_path: Path) -> None:
    lines = [line for line in SHORT.splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(lines) <= 10
    made = SHORT.replace("1025", str(inbox.smtp_port))
    given = 'def collect(date):\n    raise OSError(f"no answer for {date}")\n\n\n'
    run(f"{given}{made}", tmp_path, inbox)
    text = the_mail(inbox)["text"]
    assert "no answer for" in text
    assert "2025-01-01…2025-01-03" in text
    assert "all that was reported" in text


def test_a_script_with_try_and_finally_tells_which_dates_failed_and_draws_the_others(
    inbox: InboxClient, tmp_path: Path
) -> None:
    run(program("plain.py"), tmp_path, inbox)
    text = the_mail(inbox)["text"]
    assert "2025-01-03, 2025-01-06, 2025-01-09" in text
    assert "Jan  vvFvvFvvFv" in text
    assert "ConnectionError" in text


def test_a_killed_script_goes_on_at_its_checkpoint_and_its_one_mail_has_the_errors_of_both(
    inbox: InboxClient, tmp_path: Path
) -> None:
    before, failing, after = program("ours.py").partition("    if date[-1] in")
    killed = "    if date.endswith('-07'):\n        os.kill(os.getpid(), 9)\n"
    shared = f"{before}{killed}{failing}{after}"
    assert run(program("resumable.py"), tmp_path, inbox, shared=shared) == -signal.SIGKILL
    assert not inbox.messages()
    assert run(program("resumable.py"), tmp_path, inbox) == 0
    text = the_mail(inbox)["text"]
    assert "2025-01-03, 2025-01-06, 2025-01-09" in text
    # What was finished and told is not told again.
    assert run(program("resumable.py").replace('"january"', '"february"'), tmp_path, inbox) == 0
    assert len(inbox.messages()) == 2


def test_a_pool_of_threads_keeps_its_errors_in_a_bucket_and_they_are_one_cause(
    inbox: InboxClient, tmp_path: Path, gcs_root: Path, gcs_endpoint: str
) -> None:
    bucket = f"a{uuid.uuid4().hex[:12]}"
    (gcs_root / bucket).mkdir()
    made = program("pooled.py").replace("my-alerts", bucket)
    run(made, tmp_path, inbox, shared=FOUR_WEEKS, STORAGE_EMULATOR_HOST=gcs_endpoint)
    mail = the_mail(inbox)
    assert "1 cause" in mail["subject"] + mail["text"]
    assert re.search(r"\b8 days", mail["text"])
    assert list((gcs_root / bucket).rglob("*.json*"))
