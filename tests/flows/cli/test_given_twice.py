"""What is said twice, or left empty, in one command line: refused before anything is asked, never half ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.command import main

RUN = ["run", "bdl_box_scores", "2025-02-01", "2025-02-10", "--reason", "test"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--dates", "2025-02-01", "--dates", "2025-02-02"], "is given twice"),
        (["-r", "stale"], "is given twice"),
        (["--dates", ""], "is empty"),
        (["--entities", " "], "is empty"),
        (["-p", "max_calls=1", "-p", "max_calls=2"], "max_calls is given twice"),
        (["-p", "dates="], "dates has no value"),
        (["--dates", "2025-02-01", "-p", "dates=2025-02-02"], "dates is given twice: 2025-02-01 and 2025-02-02"),
        (["--mode", "full", "-p", "mode=validate"], "mode is given twice: full and validate"),
        (["-p", "start_date=2025-02-05"], "start_date is given twice: 2025-02-01 and 2025-02-05"),
        (["--dates", "2025-02-01.."], "is not a range"),
        (["-p", "canary=true"], "true and false are not numbers"),
        (["-p", "max_cost_usd=Infinity"], "max_cost_usd: Input should be less than or equal to"),
        (["-p", "deadline_h=1e300"], "deadline_h: Input should be less than or equal to"),
        (["--from-file", "/dev/zero"], "is longer than 5,000,000 characters"),
    ],
    ids=" ".join,
)
def test_it_is_wrong_usage(more, told, capsys, monkeypatch):
    for name in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert main([*RUN, *more]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "has no date in it"), (b"\r\n \n", "has no date in it"), (b"\xff\xfe2\x00", "cannot be read as text")],
    ids=["empty", "blank lines", "UTF-16"],
)
def test_a_file_without_a_date_is_not_every_date(content: bytes, told: str, tmp_path: Path, capsys) -> None:
    listed = tmp_path / "dates.txt"
    listed.write_bytes(content)
    assert main([*RUN, "--from-file", str(listed)]) == 2
    assert main([*RUN, "--from-file", str(listed), "--dates", "2025-02-01"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert told in said
    assert "give --dates or a file, not both" in said


def test_hours_beyond_the_calendar_are_wrong_usage(capsys):
    assert main(["errors", "--hours", "999999999999"]) == 2
    assert "less than or equal to" in capsys.readouterr().err
