"""The local Cloud Storage as strict as Google's, asked through the official client."""

from __future__ import annotations

import datetime as dt
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.cloud.storage as storage
import pytest
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials

from alerting.object_store import GenerationConflict
from deployments.local.gcs_emulator.server import start_gcs
from deployments.local.processes import Inherited, wait_ready
from scrapers.object_store import GcsObjectStore


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A strict storage with one bucket, on a machine far from Greenwich."""
    folder: Path = tmp_path_factory.mktemp("strict")
    (folder / "objects" / "strict-bucket").mkdir(parents=True)
    inherited = Inherited({"GAPLESS_STRICT": "1", "TZ": "Asia/Kathmandu"})
    child = start_gcs(folder / "objects", folder / "gcs.log", inherited=inherited)
    try:
        wait_ready([child], timeout_s=20)
        yield child.endpoint
    finally:
        child.stop()


@pytest.fixture
def bucket(endpoint: str) -> storage.Bucket:
    """The official client, which does not retry."""
    client = storage.Client(
        project="p",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": endpoint},
    )
    return client.bucket("strict-bucket")


def write(bucket: storage.Bucket, name: str, data: bytes = b"1", **rest: Any) -> storage.Blob:
    """One try."""
    blob = bucket.blob(name)
    blob.metadata = rest.pop("metadata", None)
    blob.upload_from_string(data, retry=None, timeout=10, **rest)
    return blob


def test_instants_are_told_in_utc_whatever_the_zone_of_the_machine(bucket: storage.Bucket) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    write(bucket, "now")
    (found,) = bucket.list_blobs(prefix="now")
    assert before < found.updated < dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)


def test_a_second_write_to_a_name_within_a_second_is_answered_429_and_other_names_are_not(
    bucket: storage.Bucket,
) -> None:
    write(bucket, "twice")
    write(bucket, "other")
    with pytest.raises(api.TooManyRequests, match="rate limit for object mutation"):
        write(bucket, "twice", b"2")
    assert bucket.blob("twice").download_as_bytes(timeout=10) == b"1"


def test_our_store_waits_instead_of_being_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPLESS_STRICT", "1")
    store = GcsObjectStore("strict-bucket", project="p", endpoint=endpoint)
    generation = store.write("paced", b"1", if_generation=0)
    store.write("paced", b"2", if_generation=generation)
    assert store.calls["write"] == 2


def test_metadata_over_8_kib_and_names_over_1024_bytes_are_refused(bucket: storage.Bucket) -> None:
    write(bucket, "small", metadata={"k": "v" * 3000})
    with pytest.raises(api.BadRequest, match="8192 are allowed"):
        write(bucket, "large", metadata={"k": "v" * 9000})
    with pytest.raises(api.BadRequest, match="1 to 1024 bytes"):
        write(bucket, "n" * 1025)


def test_gzip_is_kept_without_content_encoding_so_that_nothing_unpacks_it_on_its_way(
    endpoint: str, bucket: storage.Bucket
) -> None:
    packed = gzip.compress(b"{}")
    store = GcsObjectStore("strict-bucket", project="p", endpoint=endpoint)
    store.write("rows.ndjson.gz", packed, content_type="application/gzip")
    blob = bucket.get_blob("rows.ndjson.gz", timeout=10)
    assert (blob.content_encoding, blob.content_type, blob.size) == (None, "application/gzip", len(packed))
    assert blob.download_as_bytes(timeout=10) == packed
    assert store.read("rows.ndjson.gz")[0] == packed


def test_an_upload_in_pieces_keeps_its_precondition(endpoint: str) -> None:
    store = GcsObjectStore("strict-bucket", project="p", endpoint=endpoint)
    large = b"x" * (9 * 2**20)
    store.write("pieces", io.BytesIO(large), if_generation=0)
    with pytest.raises(GenerationConflict):
        store.write("pieces", io.BytesIO(large[1:]), if_generation=0)
    assert store.read("pieces")[0] == large
