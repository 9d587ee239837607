from __future__ import annotations

import http.server
import tempfile
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import google.cloud.storage as storage
import pytest
from google.auth.credentials import AnonymousCredentials

from alerting.errors import (
    AuthenticationError,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    LandingUnavailable,
)
from alerting.object_store import GenerationConflict, ObjectMissing
from scrapers.object_store import GcsObjectStore, Patience


@pytest.fixture
def store(gcs_endpoint: str) -> GcsObjectStore:
    bucket = GcsObjectStore(f"gapless-{uuid.uuid4().hex[:12]}", project="test", endpoint=gcs_endpoint)
    bucket.ensure_bucket("EU")
    return bucket


def test_the_first_object_of_a_listing_shows_that_the_bucket_is_there(store, gcs_endpoint):
    store.write("a/1", b"x")
    other = GcsObjectStore(store.bucket, project="test", endpoint=gcs_endpoint)
    assert next(other.list("a/")).name == "a/1"
    with pytest.raises(ObjectMissing):
        other.read("a/2")
    assert other.calls["list"] == 1


def test_what_is_written_is_read_with_its_generation(store):
    first = store.write("landing/a.gz", b"\x1f\x8b not unpacked", content_type="application/gzip")
    assert store.read("landing/a.gz") == (b"\x1f\x8b not unpacked", first)
    second = store.write("landing/a.gz", b"two")
    assert second > first
    assert store.read("landing/a.gz") == (b"two", second)


@pytest.mark.parametrize("size_bytes", [0, 3, 9 * 2**20])
def test_a_file_is_written_from_its_beginning_whatever_its_size(store, size_bytes):
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789abcdef" * (size_bytes // 16) + b"x" * (size_bytes % 16))
        generation = store.write("runs/errors.jsonl", file, if_generation=0, metadata={"rows": "1"})
        data, found = store.read("runs/errors.jsonl")
        assert (len(data), found) == (size_bytes, generation)
        file.seek(0)
        assert data == file.read()
        (listed,) = store.list("runs/")
        assert (listed.size_bytes, listed.metadata) == (size_bytes, {"rows": "1"})
        # fake-gcs-server 1.54.0 ignores the precondition of an upload in pieces; Cloud Storage does not.
        if size_bytes < 2**20:
            with pytest.raises(GenerationConflict):
                store.write("runs/errors.jsonl", file, if_generation=0)


def test_create_only_and_compare_and_swap_refuse_a_changed_object(store):
    generation = store.write("ledger/x.json", b"1", if_generation=0)
    with pytest.raises(GenerationConflict):
        store.write("ledger/x.json", b"2", if_generation=0)
    swapped = store.write("ledger/x.json", b"3", if_generation=generation)
    with pytest.raises(GenerationConflict):
        store.write("ledger/x.json", b"4", if_generation=generation)
    with pytest.raises(GenerationConflict):
        store.write("ledger/never-there.json", b"4", if_generation=generation)
    assert store.read("ledger/x.json") == (b"3", swapped)


def test_of_eight_threads_that_create_one_object_exactly_one_wins(store):
    for trial in range(3):
        wins: list[int] = []
        barrier = threading.Barrier(8)

        def create(who: int, name: str = f"leases/{trial}.json", wins: list[int] = wins, barrier=barrier) -> None:
            barrier.wait()
            try:
                store.write(name, str(who).encode(), if_generation=0)
                wins.append(who)
            except GenerationConflict:
                pass

        _in_threads(create)
        assert len(wins) == 1
        assert store.read(f"leases/{trial}.json")[0] == str(wins[0]).encode()


def test_no_increment_is_lost_when_eight_threads_compare_and_swap(store):
    store.write("count", b"0")

    def increment(_: int) -> None:
        for _ in range(5):
            while True:
                value, generation = store.read("count")
                try:
                    store.write("count", str(int(value) + 1).encode(), if_generation=generation)
                    break
                except GenerationConflict:
                    continue

    _in_threads(increment)
    assert store.read("count")[0] == b"40"


def _in_threads(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_listing_carries_metadata_and_keeps_to_its_borders(store):
    for day in range(1, 6):
        store.write(f"ledger/2025-01-0{day}.json", b"{}", metadata={"verdict": "verified", "day": str(day)})
    store.write("ledgers-other/x", b"")
    found = list(store.list("ledger/", start_offset="ledger/2025-01-02", end_offset="ledger/2025-01-04.json"))
    assert [item.name for item in found] == ["ledger/2025-01-02.json", "ledger/2025-01-03.json"]
    assert found[0].metadata == {"verdict": "verified", "day": "2"}
    assert (found[0].size_bytes, found[0].generation) == (2, store.read("ledger/2025-01-02.json")[1])
    assert found[0].updated_at is not None
    assert found[0].updated_at.utcoffset() is not None


@pytest.mark.long
def test_a_thousand_objects_cost_one_list_call(gcs_endpoint, store):
    def write(who: int) -> None:
        for number in range(who, 1002, 8):
            store.write(f"ledger/{number:04d}.json", b"{}", metadata={"verdict": "verified"})

    _in_threads(write)
    before = store.calls.get("list", 0)
    found = list(store.list("ledger/"))
    assert len(found) == 1002
    assert {item.metadata["verdict"] for item in found} == {"verified"}
    assert store.calls["list"] - before == 2
    assert (store.calls["write"], store.calls.get("stat", 0), store.calls.get("read", 0)) == (1003, 0, 0)


def test_a_missing_object_is_missing_and_deleting_it_is_no_error(store):
    with pytest.raises(ObjectMissing):
        store.read("nowhere")
    store.write("somewhere", b"x")
    store.delete("somewhere")
    store.delete("somewhere")
    with pytest.raises(ObjectMissing):
        store.read("somewhere")


@pytest.mark.parametrize("action", ["read", "write", "list", "delete"])
def test_a_missing_bucket_is_never_taken_for_missing_objects(gcs_endpoint, action):
    store = GcsObjectStore("gapless-not-there", project="test", endpoint=gcs_endpoint)
    actions = {
        "read": lambda: store.read("ledger/x"),
        "write": lambda: store.write("ledger/x", b""),
        "list": lambda: list(store.list("ledger/")),
        "delete": lambda: store.delete("ledger/x"),
    }
    with pytest.raises(ConfigurationError, match=r"gcloud storage buckets create gs://gapless-not-there"):
        actions[action]()


class Proxy:
    """Stands between store and emulator; ``spoil(handler, path)`` may answer in place of it, or swallow an answer."""

    def __init__(self, target: str) -> None:
        self.swallow_next_write = False
        self.answer_with = 0
        self.reason = ""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if outer.answer_with:
                    text = b'{"error":{"code":%d,"message":"no","errors":[{"reason":"%s"}]}}'
                    self._answer(
                        outer.answer_with, text % (outer.answer_with, outer.reason.encode()), "application/json"
                    )
                    return
                request = urllib.request.Request(target + self.path, body or None, method=self.command)
                if self.headers.get("Content-Type"):
                    request.add_header("Content-Type", self.headers["Content-Type"])
                try:
                    with urllib.request.urlopen(request, timeout=10) as answer:
                        status, data, kind = answer.status, answer.read(), answer.headers["Content-Type"]
                except urllib.error.HTTPError as error:
                    status, data, kind = error.code, error.read(), error.headers["Content-Type"]
                if self.command == "POST" and outer.swallow_next_write:
                    outer.swallow_next_write = False
                    self.close_connection = True
                    return
                self._answer(status, data, kind or "application/json")

            def _answer(self, status: int, data: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do_PUT = _relay

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def proxy(gcs_endpoint: str) -> Iterator[Proxy]:
    between = Proxy(gcs_endpoint)
    yield between
    between.server.shutdown()
    between.server.server_close()


def test_a_write_whose_answer_was_lost_is_not_a_conflict_with_itself(store, proxy):
    through = GcsObjectStore(store.bucket, project="test", endpoint=proxy.url)
    proxy.swallow_next_write = True
    generation = through.write("leases/bdl.json", b"mine", if_generation=0)
    assert store.read("leases/bdl.json") == (b"mine", generation)
    assert through.calls["write"] == 2, "the library repeated the request, and the repeat met our own object"
    with pytest.raises(GenerationConflict):
        through.write("leases/bdl.json", b"again", if_generation=0)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "authError", AuthenticationError),
        (403, "forbidden", AuthenticationError),
        (403, "rateLimitExceeded", LandingUnavailable),
        (429, "rateLimitExceeded", LandingUnavailable),
        (500, "backendError", LandingUnavailable),
        (503, "backendError", LandingUnavailable),
        (400, "invalid", CriticalError),
        (403, "quotaExceeded", BudgetExhausted),
        (403, "accountDisabled", ConfigurationError),
        (403, "retentionPolicyNotMet", ConfigurationError),
        (409, "conflict", LandingUnavailable),
        (410, "uploadTooLong", LandingUnavailable),
        (599, "", LandingUnavailable),
        # Of a proxy, or a login page of a network: never an object, and never an empty listing.
        (200, "", LandingUnavailable),
        (202, "", LandingUnavailable),
        (206, "", LandingUnavailable),
    ],
)
@pytest.mark.parametrize("action", ["read", "write", "list"])
def test_every_refusal_of_storage_has_its_class_of_error(proxy, status, reason, kind, action):
    store = GcsObjectStore("gapless-any", project="test", endpoint=proxy.url, patience=Patience(retry_s=0.1))
    proxy.answer_with, proxy.reason = status, reason
    actions = {
        "read": lambda: store.read("a"),
        "write": lambda: store.write("a", b"1", if_generation=0),
        "list": lambda: list(store.list("a")),
    }
    with pytest.raises(kind) as caught:
        actions[action]()
    assert type(caught.value) is kind
    # Anonymous credentials cannot be renewed, so a 401 ends inside google-auth.
    assert str(status) in str(caught.value) or status in (200, 202, 206, 401)


def test_storage_that_is_not_there_is_unavailable():
    store = GcsObjectStore("gapless-any", project="test", endpoint="http://127.0.0.1:9", patience=Patience(retry_s=0.1))
    with pytest.raises(LandingUnavailable):
        store.read("a")


def test_an_object_store_opens_nothing_before_it_is_used(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    store = GcsObjectStore("gapless-any", project="test")
    assert (store.root_uri, dict(store.calls)) == ("gs://gapless-any", {})


def test_proxies_and_certificates_of_the_environment_are_looked_up_once_and_those_of_netrc_never(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "CURL_CA_BUNDLE", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{tmp_path}/company.pem")
    signed_in = partial(storage.Client, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    monkeypatch.setattr(storage, "Client", signed_in)

    def session() -> Any:
        return GcsObjectStore("bucket", project="test")._bucket().client._http

    made = session()
    assert (made.proxies["https"], made.verify) == ("http://proxy.example:3128", f"{tmp_path}/company.pem")
    assert not made.trust_env
    monkeypatch.setenv("NO_PROXY", "storage.googleapis.com")
    assert not session().proxies
