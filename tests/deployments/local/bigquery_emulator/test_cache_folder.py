"""Where the compiled SQL analyzer is kept when the user has no folder for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deployments.local.bigquery_emulator.googlesql import cache_file


def test_without_a_home_that_can_be_written_to_it_is_kept_in_this_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_file().is_relative_to(tmp_path / "home" / ".cache")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert cache_file().is_relative_to(tmp_path / "environment")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_file().is_relative_to(tmp_path / "environment")


def test_where_it_can_be_kept_nowhere_one_line_names_the_folders(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "file"))
    with pytest.raises(SystemExit, match=r"can be kept nowhere: .*file"):
        cache_file()
