"""Kills a flow-run process with SIGKILL at one exact call, so that crashes happen where a test wants them.

Python imports this file by itself when its folder is on PYTHONPATH. ``GAPLESS_TEST_KILL_AT`` is
``module:Class.method:before|after:n``; ``GAPLESS_TEST_KILL_ONCE`` names a file that is made at the kill, and while it
exists nothing is killed: the crash hook and the rerun go on unharmed.
"""

import functools
import importlib.abc
import importlib.util
import itertools
import os
import signal
import sys
from pathlib import Path

_POINT = os.environ.get("GAPLESS_TEST_KILL_AT", "")
_ONCE = os.environ.get("GAPLESS_TEST_KILL_ONCE", "")


def _kill():
    marker = Path(_ONCE)
    if not marker.exists():
        marker.write_text(_POINT)
        os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(function, when, number):
    calls = itertools.count(1)

    @functools.wraps(function)
    def call(*args, **kwargs):
        is_it = next(calls) == number
        if is_it and when == "before":
            _kill()
        result = function(*args, **kwargs)
        if is_it and when == "after":
            _kill()
        return result

    return call


class _Patcher(importlib.abc.MetaPathFinder):
    def __init__(self, module, path, when, number):
        self.module, self.path, self.when, self.number = module, path, when, number

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            owner = module
            *parents, last = self.path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, last, _wrapped(getattr(owner, last), self.when, self.number))

        spec.loader.exec_module = exec_module
        return spec


if _POINT and _ONCE and not Path(_ONCE).exists():
    _module, _path, _when, _number = _POINT.split(":")
    sys.meta_path.insert(0, _Patcher(_module, _path, _when, int(_number)))
