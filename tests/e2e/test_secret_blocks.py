"""Secrets from Prefect blocks, on a real server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e

_SAVE = "from prefect.blocks.system import Secret; Secret(value='12345678').save('gapless-e2e-digits', overwrite=True)"
_READ = """
from prefect import flow
from flows.settings import Settings

@flow
async def ask():
    return [Settings().secret(name) for name in ("e2e_digits", "bdl_api_key", "nowhere")]

import asyncio, json
print("READ " + json.dumps(asyncio.run(ask())))
"""


def _python(bench, code):
    done = subprocess.run(
        [sys.executable, "-c", code], env=bench.env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_secret_comes_from_its_block_and_the_environment_goes_before(bench):
    _python(bench, _SAVE)
    done = _python(bench, _READ)
    read = json.loads(done.stdout.split("READ ")[1])
    assert read == ["12345678", "sample-key", ""]
    assert "12345678" not in done.stderr
