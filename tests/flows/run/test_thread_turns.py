"""Threads that wait for storage are not kept waiting by one that computes."""

from __future__ import annotations

import sys

import pytest

from flows.run.thread_turns import TURN_S, short_turns


def test_turns_are_short_while_a_run_works_and_as_before_after_it_however_it_ends() -> None:
    before_s = sys.getswitchinterval()

    def fails() -> None:
        with short_turns():
            assert before_s > TURN_S
            assert sys.getswitchinterval() == pytest.approx(TURN_S)
            raise RuntimeError("the run failed")

    with pytest.raises(RuntimeError, match="the run failed"):
        fails()
    assert sys.getswitchinterval() == before_s
