"""A web page of another origin, a rebound name and curl try to make the worker run a command, and to spoil the stack.

Four posts do it where nothing is guarded: a work pool, a flow, a deployment whose job is a command, a run of it. The
same posts with the password and from the UI's own origin do it here too, so that the attack is known to be a good one.
"""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
PATIENCE_MS = 60_000
# Sends everything both as a page that asks for leave (CORS) and as one that does not need to (a simple request).
PAGE = """<!doctype html><title>attack</title><script>
const sent = [];
async function attempt(method, url, body) {
  const ways = [{method, body, headers: {"Content-Type": "application/json"}}];
  if (method === "POST") ways.push({method, body, mode: "no-cors", headers: {"Content-Type": "text/plain"}});
  for (const way of ways) {
    try { const answer = await fetch(url, way); sent.push([url, answer.type, answer.status]); }
    catch (error) { sent.push([url, "blocked", String(error)]); }
  }
}
async function attack(steps) { for (const [method, url, body] of steps) await attempt(method, url, body); return sent; }
</script>"""


def steps(api: str, name: str, command: str, flow_id: str = "", deployment_id: str = "") -> list[tuple[str, str, Any]]:
    """The four posts; ids of what earlier ones made are filled in by whoever can read answers."""
    deployment = {
        "name": name,
        "flow_id": flow_id or "00000000-0000-0000-0000-000000000000",
        "work_pool_name": "gapless",
        "work_queue_name": "live",
        "entrypoint": "nothing.py:nothing",
        "job_variables": {"command": command},
    }
    return [
        ("POST", f"{api}/work_pools/", {"name": name, "type": "process"}),
        ("POST", f"{api}/flows/", {"name": name}),
        ("POST", f"{api}/deployments/", deployment),
        ("POST", f"{api}/deployments/{deployment_id or flow_id or name}/create_flow_run", {"name": name}),
    ]


def spoiling(urls: dict[str, str]) -> list[tuple[str, str, Any]]:
    """What would be lost or planted beside the Prefect server."""
    return [
        ("DELETE", f"{urls['inbox']}/api/messages", None),
        ("POST", f"{urls['inbox']}/api/trouble", {"mode": "down"}),
        ("POST", f"{urls['upstream']}/gapless/trouble", [{"kind": "500"}]),
        ("DELETE", f"{urls['upstream']}/gapless/calls", None),
        ("POST", f"{urls['gcs']}/storage/v1/b?project=p", {"name": "planted"}),
        ("POST", f"{urls['bigquery']}/bigquery/v2/projects/p/datasets", {"datasetReference": {"datasetId": "planted"}}),
        ("POST", f"{urls['bigquery']}/gapless/quota", {"loads_per_table_per_day": 0}),
    ]


@pytest.fixture(scope="module")
def foreign_page() -> Iterator[str]:
    """Port of a server whose page attacks."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield str(server.server_port)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def rebinding_browser() -> Iterator[Any]:
    """Chromium in which every name under evil.example means this machine, as after DNS rebinding."""
    import os
    import shutil

    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright (no browsers of its own)")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: apt-get install -y chromium")
    mapped = "--host-resolver-rules=MAP *.evil.example 127.0.0.1"
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox", mapped])
        yield started
        started.close()


def marks(bench: Bench, name: str) -> dict[str, Any]:
    """Everything that an attack would have changed."""
    urls = bench.stack.urls()
    inbox = json.loads(curl(f"{urls['inbox']}/api/trouble")[1])
    return {
        "pools": [one["name"] for one in bench.api("/work_pools/filter", {}) if one["name"] == name],
        "flows": [one["name"] for one in bench.api("/flows/filter", {}) if one["name"] == name],
        "runs": bench.api("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}),
        "mails": len(json.loads(curl(f"{urls['inbox']}/api/messages")[1])),
        "inbox trouble": inbox["mode"],
        "calls": bench.calls()["total"],
        "buckets": [one["id"] for one in json.loads(curl(f"{urls['gcs']}/storage/v1/b?project=p")[1])["items"]],
        "quota": json.loads(curl(f"{urls['bigquery']}/gapless/quota")[1]),
        "datasets": curl(f"{urls['bigquery']}/bigquery/v2/projects/p/datasets")[1],
    }


def curl(url: str, *arguments: str) -> tuple[int, str]:
    """Status and body."""
    done = subprocess.run(
        ["curl", "--silent", "--noproxy", "*", "--max-time", "30", "--write-out", "\n%{http_code}", *arguments, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def as_text(given: list[tuple[str, str, Any]]) -> list[list[str | None]]:
    return [[method, url, None if body is None else json.dumps(body)] for method, url, body in given]


@pytest.mark.parametrize("host", ["127.0.0.1", "page.evil.example"])
def test_a_page_of_another_origin_changes_nothing(
    bench: Bench, rebinding_browser: Any, foreign_page: str, tmp_path: Path, host: str
) -> None:
    name, proof = "from-a-page", tmp_path / "proof"
    before = marks(bench, name)
    page = rebinding_browser.new_page()
    page.goto(f"http://{host}:{foreign_page}/", timeout=PATIENCE_MS)
    tried = [*steps(bench.env["PREFECT_API_URL"], name, f"touch {proof}"), *spoiling(bench.stack.urls())]
    sent = page.evaluate("steps => attack(steps)", as_text(tried))
    page.close()
    assert len(sent) == sum(2 if method == "POST" else 1 for method, _, _ in tried)
    assert {kind for _, kind, _ in sent} <= {"blocked", "opaque"}
    assert marks(bench, name) == before
    assert not proof.exists()


def test_a_page_under_a_name_that_was_rebound_to_this_machine_reads_and_changes_nothing(
    bench: Bench, rebinding_browser: Any, tmp_path: Path
) -> None:
    name = "rebound"
    before = marks(bench, name)
    for server, url in bench.stack.urls().items():
        if server in ("worker", "guard"):
            continue
        port = urllib.parse.urlsplit(url).port
        page = rebinding_browser.new_page()
        answer = page.goto(f"http://rebound.evil.example:{port}/", timeout=PATIENCE_MS)
        assert answer is not None
        assert answer.status == 421, server
        page.close()
    assert marks(bench, name) == before


def test_curl_without_the_password_or_with_a_foreign_host_or_origin_changes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    name, proof = "from-curl", tmp_path / "proof"
    before = marks(bench, name)
    password = ("--user", bench.env["PREFECT_API_AUTH_STRING"])
    ways: list[tuple[tuple[str, ...], int]] = [
        ((), 401),
        (("--user", "gapless:guessed"), 401),
        ((*password, "--header", "Origin: https://evil.example"), 403),
        ((*password, "--header", "Host: evil.example"), 421),
        ((*password, "--header", "Sec-Fetch-Site: cross-site"), 403),
    ]
    for arguments, status in ways:
        for method, url, body in steps(bench.env["PREFECT_API_URL"], name, f"touch {proof}"):
            data = ("--request", method, "--json", json.dumps(body))
            assert curl(url, *arguments, *data)[0] == status, (url, arguments)
    for header in ("Origin: https://evil.example", "Host: evil.example", "Sec-Fetch-Site: cross-site"):
        for method, url, body in spoiling(bench.stack.urls()):
            data = ("--request", method, "--json", json.dumps(body))
            assert curl(url, "--header", header, *data)[0] in (403, 421), url
    assert marks(bench, name) == before
    assert not proof.exists()


def test_the_same_four_posts_with_the_password_run_the_command(bench: Bench, tmp_path: Path) -> None:
    name, proof = "from-its-owner", tmp_path / "proof"
    api, ids = bench.env["PREFECT_API_URL"], ["", ""]
    password = ("--user", bench.env["PREFECT_API_AUTH_STRING"], "--header", f"Origin: {bench.env['PREFECT_UI_URL']}")
    for number in range(4):
        method, url, body = steps(api, name, f"touch {proof}", ids[0], ids[1])[number]
        status, answer = curl(url, *password, "--request", method, "--json", json.dumps(body))
        assert status in (200, 201), answer
        if number in (1, 2):
            ids[number - 1] = json.loads(answer)["id"]
    deadline = time.monotonic() + 120
    while not proof.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert proof.exists()


def test_the_sign_in_page_opens_the_ui_signed_in_and_is_readable_by_its_owner_alone(
    bench: Bench, rebinding_browser: Any
) -> None:
    page_file = bench.stack.sign_in_page
    assert page_file.stat().st_mode & 0o777 == 0o600
    context = rebinding_browser.new_context()
    page = context.new_page()
    page.goto(page_file.as_uri(), timeout=PATIENCE_MS)
    page.wait_for_url(f"{bench.env['PREFECT_UI_URL']}/**", timeout=PATIENCE_MS)
    page.get_by_text("Deployments").first.wait_for(timeout=PATIENCE_MS)
    kept = page.evaluate("localStorage.getItem('prefect-password')")
    assert base64.b64decode(kept).decode() == bench.env["PREFECT_API_AUTH_STRING"]
    assert "#" not in page.url
    assert kept not in "".join(page.evaluate("performance.getEntries().map(entry => entry.name)"))
    for version in ("v2/", ""):
        page.goto(f"{bench.env['PREFECT_UI_URL']}/{version}deployments", timeout=PATIENCE_MS)
        page.get_by_text("bdl_box_scores").first.wait_for(timeout=PATIENCE_MS)
    context.close()


def test_no_log_of_the_stack_holds_the_password(bench: Bench) -> None:
    password = bench.env["PREFECT_API_AUTH_STRING"].partition(":")[2]
    spellings = {password, base64.b64encode(bench.env["PREFECT_API_AUTH_STRING"].encode()).decode()}
    logs = list((bench.stack.state_dir / "logs").glob("*.log"))
    assert len(logs) > 5
    assert [log.name for log in logs if any(one in log.read_text(errors="replace") for one in spellings)] == []
    keepers = {"env", "stack.json", "sign-in.html"}
    for path in bench.stack.state_dir.iterdir():
        if path.name in keepers:
            assert path.stat().st_mode & 0o077 == 0
