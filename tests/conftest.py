"""Emulators for every test: one of each kind per test process, on free ports, gone with the process."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import re
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest
from hypothesis import settings

from alerting import secret_literals
from alerting.memory_store import MemoryObjectStore
from alerting.store_clock import StoreClock
from deployments.local.bigquery_emulator.server import START_TIMEOUT_S, start_bigquery
from deployments.local.gcs_emulator.server import start_gcs
from deployments.local.inbox.server import InboxClient, start_inbox
from deployments.local.processes import wait_ready

if TYPE_CHECKING:
    from flows.wiring import Services

# No test asserts a time: a busy machine is no failure. On CI the examples are the same in every run.
settings.register_profile("gapless", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("gapless")


# Before Prefect reads its settings. Without it, whatever looks for a server where none is named starts one: 5 s of CPU,
# and it stays until the tests end.
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"

# A script that runs tests in the background has them ignore Ctrl+C, and every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _state_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes to the state folder of the user who runs it, and no child of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_literals, "_known", {})
    monkeypatch.setattr(secret_literals, "_passing", [])


@pytest.fixture
def at_the_store(monkeypatch: pytest.MonkeyPatch) -> Callable[[dt.datetime], None]:
    """From the call on it is so late at every store."""
    return lambda now: monkeypatch.setattr(StoreClock, "now", lambda _: now)


@pytest.fixture(scope="session")
def gcs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder behind both emulators: ``gs://bucket/object`` is ``gcs_root/bucket/object``."""
    return tmp_path_factory.mktemp("gcs")


@pytest.fixture(scope="session")
def gcs_endpoint(gcs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a fake-gcs-server on ``gcs_root``. Shared: make your own bucket."""
    child = start_gcs(gcs_root, tmp_path_factory.mktemp("logs") / "gcs.log")
    try:
        wait_ready([child])
        yield child.endpoint
    finally:
        child.stop()


@pytest.fixture(scope="session")
def bigquery_endpoint(gcs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a local BigQuery that reads ``gs://`` from ``gcs_root``. Shared: make your own dataset."""
    folder = tmp_path_factory.mktemp("bigquery")
    child = start_bigquery(None, gcs_root, folder / "bigquery.log")
    try:
        wait_ready([child], timeout_s=START_TIMEOUT_S)
        yield child.endpoint
    finally:
        child.stop()


class MemoryBucket(MemoryObjectStore):
    """A bucket in memory, for thousands of objects; staged rows are files too, because BigQuery reads those itself."""

    calls: ClassVar[dict[str, int]] = {}

    def __init__(self, folder: Path) -> None:
        super().__init__(f"gs://{folder.name}")
        self._folder = folder

    def write(self, name: str, data: bytes, **rest: Any) -> int:
        if name.startswith("staging/"):
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return super().write(name, data, **rest)


@pytest.fixture
def memory_bucket(gcs_root: Path) -> MemoryBucket:
    """An empty bucket from which BigQuery can load, without a server."""
    return MemoryBucket(gcs_root / f"m{uuid.uuid4().hex[:12]}")


class Provisioned(Protocol):
    """Provisions a place for one source; keywords are settings of any name, see ``provisioned``."""

    def __call__(self, source: str, url: str, secrets: Mapping[str, str], **settings: str) -> Services: ...


@pytest.fixture
def provisioned(
    gcs_root: Path, gcs_endpoint: str, bigquery_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Provisioned:
    """The environment of a user: a bucket and a dataset of its own with the tables of ``source``, where nothing was
    done yet. Nobody gets mail unless ``settings`` say so."""

    def provision(source: str, url: str, secrets: Mapping[str, str], **settings: str) -> Services:
        name = f"t{uuid.uuid4().hex[:12]}"
        (gcs_root / name).mkdir()
        for variable, value in {
            "STORAGE_EMULATOR_HOST": gcs_endpoint,
            "BIGQUERY_EMULATOR_HOST": bigquery_endpoint,
            "GAPLESS_PROJECT": "p",
            "GAPLESS_BUCKET": name,
            "GAPLESS_DATASET": name,
            "GAPLESS_SOURCE_URLS": json.dumps({source: url}),
            "GAPLESS_SOURCE_SECRETS": json.dumps(dict(secrets)),
            "GAPLESS_SOURCE_RATE_PER_MINUTE": json.dumps({"balldontlie": 60_000}),
            "GAPLESS_CONSOLE_ONLY": "true",
            **settings,
        }.items():
            monkeypatch.setenv(variable, value)
        # Here, so that tests of the lower layers need no Prefect.
        from flows.wiring import build_services

        services = build_services()
        services.warehouse.ensure_dataset()
        for table in services.source_kit(source).processor.tables:
            services.warehouse.ensure_table(table)
        return services

    return provision


@pytest.fixture(scope="session")
def _inbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InboxClient]:
    folder = tmp_path_factory.mktemp("inbox")
    child = start_inbox(folder / "mails", folder / "inbox.log")
    try:
        wait_ready([child])
        yield InboxClient.of(child)
    finally:
        child.stop()


@pytest.fixture
def inbox(_inbox_server: InboxClient) -> InboxClient:
    """A real SMTP server with its page, without mails and without trouble."""
    _inbox_server.clear()
    return _inbox_server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system. Its thread is gone before the next module, which may run a loop of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright (no browsers of its own)")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: apt-get install -y chromium")
    # Prefect draws the graph of a run by WebGL, here without a graphics card.
    drawing = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox", *drawing])
        yield started
        started.close()


@dataclass(frozen=True)
class DocumentedCommand:
    """One command of a ```sh block, continuation lines joined, without its comment."""

    page: str
    line: int
    text: str


@pytest.fixture(scope="session")
def documented_commands() -> list[DocumentedCommand]:
    """Every command of README.md and docs/*.md, in reading order."""
    project_dir = Path(__file__).parent.parent
    pages = [project_dir / "README.md", project_dir / "CONTRIBUTING.md", *sorted((project_dir / "docs").rglob("*.md"))]
    found = []
    for page in pages:
        text = page.read_text()
        for block in re.finditer(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start(1)) + 1
            for command in re.sub(r"\\\n", "\\\n\0", block[1]).replace("\\\n\0", "\0").splitlines():
                shown = re.sub(r"(?:^|\s{2,})#.*", "", command).replace("\0", " ").strip()
                if shown:
                    found.append(DocumentedCommand(str(page.relative_to(project_dir)), line, shown))
                line += 1 + command.count("\0")
    return found


@dataclass(frozen=True)
class NewSource:
    """What docs/add-a-source.md prints: files by their path, and the entry of prefect.yaml."""

    files: dict[str, str]
    entry: str


@pytest.fixture(scope="session")
def new_source() -> NewSource:
    """The example of docs/add-a-source.md."""
    page = (Path(__file__).parent.parent / "docs" / "add-a-source.md").read_text()
    files = dict(re.findall(r"^`(\S+\.py)`\n\n```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    return NewSource(files, re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0])


class Frankfurter(http.server.BaseHTTPRequestHandler):
    """Answers a day without rates with the newest earlier ones, as the real one does."""

    rates: ClassVar[dict[str, float]] = {"USD": 1.03, "GBP": 0.83, "JPY": 162.0}

    def do_GET(self) -> None:
        day = dt.date.fromisoformat(self.path.split("?")[0].removeprefix("/v1/"))
        while day.weekday() >= 5:
            day -= dt.timedelta(days=1)
        body = json.dumps({"amount": 1.0, "base": "EUR", "date": str(day), "rates": self.rates}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def frankfurter() -> Iterator[str]:
    """Base URL of the upstream that docs/add-a-source.md adds."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Frankfurter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
