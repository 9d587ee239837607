"""Google Cloud Storage behind :class:`alerting.object_store.ObjectStore`. The only module that imports it.

What the calls were chosen for:

* A write is one multipart request with a generation precondition. The client library repeats a request whose answer
  was lost, so a compare-and-swap can lose against itself (412); a writer id in the metadata tells the two apart.
* A read takes generation and bytes from the same answer, so a later compare-and-swap cannot mix two versions.
* A listing asks for five fields only: 1,000 objects with their metadata for one call.
* ``delete(if_generation_match=...)`` is never used: fake-gcs-server 1.54.0 ignores the precondition, and a lease
  released that way would look safe in every local test.
"""

from __future__ import annotations

import datetime as dt
import io
import os
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import google.cloud.storage as storage
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import RequestException

from alerting.errors import PipelineError
from alerting.object_store import GenerationConflict, ObjectMissing, StoredObject
from scrapers.counting_adapter import CountingAdapter
from scrapers.google_session import settle_way_out
from scrapers.pace.write_pace import SAME_NAME_INTERVAL_S, WritePace
from scrapers.storage_errors import Trouble, reason_of, storage_trouble, unreachable

WRITER_KEY = "writer"
"""Metadata key that names the single write call which made this generation; hidden from listings."""

_LOST = (auth.TransportError, DataCorruption, RequestException, ConnectionError, TimeoutError)
_PASSING = (api.TooManyRequests, api.ServerError, api.RetryError, *_LOST)
# 403 is also what has nothing to do with grants.
_FORBIDDEN: Mapping[str, Trouble] = {
    **dict.fromkeys(("quotaExceeded", "dailyLimitExceeded"), "exhausted"),
    **dict.fromkeys(("accountDisabled", "userProjectAccountProblem", "billingNotEnabled"), "billing"),
    **dict.fromkeys(("retentionPolicyNotMet", "objectUnderActiveHold"), "held"),
}
_PIECE_BYTES = 8 * 2**20
_LIST_FIELDS = "items(name,generation,size,updated,metadata),nextPageToken"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds.

    Args:
        timeout_s: For one request, connect and each wait for bytes.
        retry_s: For one call with its retries (429, 5xx, broken connections).
        first_retry_s: The same until storage has answered once: who starts while it is down hears so in under 20 s.
    """

    timeout_s: float = 30.0
    retry_s: float = 60.0
    first_retry_s: float = 12.0


PATIENT = Patience()


class GcsObjectStore:
    """Objects of one bucket. Opens nothing until first used; safe to call from many threads, one per process.

    Args:
        bucket: Name without ``gs://``. It must exist.
        project: Google project, for client construction only.
        pool_size: Connections kept open. Use at least as many as there are threads: the default pool of ten drops
            and reopens connections (TLS handshakes) beyond that.
        patience: How long a call may take.
        endpoint: Emulator with scheme, e.g. ``http://127.0.0.1:4443``; None reads ``STORAGE_EMULATOR_HOST``, and
            without that it is the real service with default credentials.
        same_name_interval_s: Least time between two writes of this process to one object name; None takes 1 s for
            the real service and for an emulator that is as strict (``GAPLESS_STRICT``), none for another one.
    """

    def __init__(
        self,
        bucket: str,
        *,
        project: str,
        pool_size: int = 16,
        patience: Patience = PATIENT,
        endpoint: str | None = None,
        same_name_interval_s: float | None = None,
    ) -> None:
        self.bucket = bucket
        self._project = project
        self._endpoint = endpoint if endpoint is not None else os.environ.get("STORAGE_EMULATOR_HOST", "")
        self._adapter = CountingAdapter(pool_connections=2, pool_maxsize=pool_size, pool_block=True)
        # A call ends at the latest one request after its last retry began: 12 s and 7 s.
        timeout_s, retry_s = patience.timeout_s, patience.retry_s
        self._first_calling = _calling(min(timeout_s, 4.0), min(timeout_s, 7.0), min(retry_s, patience.first_retry_s))
        self._later_calling = _calling(min(timeout_s, 10.0), timeout_s, retry_s)
        if same_name_interval_s is None:
            is_strict = not self._endpoint or bool(os.environ.get("GAPLESS_STRICT"))
            same_name_interval_s = SAME_NAME_INTERVAL_S if is_strict else 0.0
        self._pace = WritePace(same_name_interval_s)
        self._opening = threading.Lock()
        self._handle: storage.Bucket | None = None
        self._bucket_seen = False

    @property
    def root_uri(self) -> str:
        """``gs://bucket``."""
        return f"gs://{self.bucket}"

    @property
    def calls(self) -> Mapping[str, int]:
        """Requests sent so far, retries included, by kind: ``read``, ``write``, ``list``, ``stat``, ``delete``."""
        return self._adapter.counts()

    @property
    def _calling(self) -> dict[str, Any]:
        """Timeouts and retries of the next call."""
        return self._later_calling if self._adapter.has_answered else self._first_calling

    def read(self, name: str) -> tuple[bytes, int]:
        """Stored bytes (never unpacked) and the generation they belong to. Raises ``ObjectMissing``."""
        blob = self._bucket().blob(name)
        try:
            data = blob.download_as_bytes(raw_download=True, **self._calling)
        except api.NotFound as missing:
            self._prove_bucket()
            raise ObjectMissing(f"{self.root_uri}/{name}") from missing
        except Exception as error:
            raise self._translated(error, f"read of {name}") from error
        generation = _generation(blob)
        if generation is None:
            raise self._unusable(f"read of {name}", "the answer names no generation")
        self._bucket_seen = True
        return data, generation

    def write(
        self,
        name: str,
        data: bytes | IO[bytes],
        *,
        if_generation: int | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """See :meth:`alerting.object_store.ObjectStore.write`."""
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        blob = self._bucket().blob(name, chunk_size=_PIECE_BYTES if file is data else None)
        writer = uuid.uuid4().hex
        blob.metadata = {**(metadata or {}), WRITER_KEY: writer}
        sending = {"size": file.seek(0, io.SEEK_END), "content_type": content_type, **self._calling}
        try:
            with self._pace.of(name):
                blob.upload_from_file(file, rewind=True, if_generation_match=if_generation, **sending)
        except api.PreconditionFailed as conflict:
            return self._own_generation(name, writer, if_generation, conflict)
        except Exception as error:
            raise self._translated(error, f"write of {name}") from error
        generation = _generation(blob)
        if generation is None:
            # Whether it was written, the object itself knows.
            return self._own_generation(name, writer, if_generation, None)
        self._bucket_seen = True
        return generation

    def list(
        self, prefix: str, *, start_offset: str | None = None, end_offset: str | None = None
    ) -> Iterator[StoredObject]:
        """See :meth:`alerting.object_store.ObjectStore.list`. Lazy: errors are raised while iterating."""
        try:
            blobs = self._bucket().list_blobs(
                prefix=prefix,
                start_offset=start_offset,
                end_offset=end_offset,
                page_size=1000,
                fields=_LIST_FIELDS,
                **self._calling,
            )
            for blob in blobs:
                self._bucket_seen = True
                yield _stored(blob)
        except PipelineError:
            raise
        except (AttributeError, KeyError, TypeError) as error:
            raise self._unusable(f"listing of {prefix}", f"another shape: {type(error).__name__}") from error
        except Exception as error:
            raise self._translated(error, f"listing of {prefix}") from error
        self._bucket_seen = True

    def delete(self, name: str) -> None:
        """Deletes whatever generation is there; a missing object is no error."""
        try:
            self._bucket().blob(name).delete(**self._calling)
        except api.NotFound:
            self._prove_bucket()
        except Exception as error:
            raise self._translated(error, f"delete of {name}") from error

    def ensure_bucket(self, location: str) -> None:
        """Creates the bucket in ``location`` unless it is there already. For provisioning only."""
        bucket = self._bucket()
        try:
            bucket.client.create_bucket(self.bucket, location=location, **self._calling)
        except api.Conflict:
            return
        except Exception as error:
            raise self._translated(error, "create the bucket") from error

    def _own_generation(
        self, name: str, writer: str, if_generation: int | None, conflict: api.PreconditionFailed | None
    ) -> int:
        """After a 412, or an answer that says nothing: the generation, if this very call wrote it."""
        try:
            found = self._bucket().get_blob(name, **self._calling)
            current = _generation(found) if found is not None else None
            if current is not None and (found.metadata or {}).get(WRITER_KEY) == writer:
                return current
        except Exception as error:
            raise self._translated(error, f"write of {name}") from error
        if conflict is None:
            raise self._unusable(f"write of {name}", "the answer names no generation")
        raise GenerationConflict(
            f"{self.root_uri}/{name}: expected generation {if_generation}, found {current or 'none'}"
        ) from conflict

    def _prove_bucket(self) -> None:
        """Raises ``ConfigurationError`` for a missing bucket: its 404 must not pass for a missing object."""
        if self._bucket_seen:
            return
        try:
            next(iter(self._bucket().list_blobs(max_results=1, fields=_LIST_FIELDS, **self._calling)), None)
        except Exception as error:
            raise self._translated(error, "look at the bucket") from error
        self._bucket_seen = True

    def _bucket(self) -> storage.Bucket:
        with self._opening:
            if self._handle is None:
                self._handle = self._open()
            return self._handle

    def _open(self) -> storage.Bucket:
        options: dict[str, Any] = {}
        if self._endpoint:
            options["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
            options["client_options"] = {"api_endpoint": self._endpoint}
        try:
            client = storage.Client(project=self._project, **options)
        except auth.GoogleAuthError as error:
            raise self._translated(error, "login") from error
        # The library has no public way to its session, nor to size its connection pool.
        settle_way_out(client._http, client.api_endpoint, is_emulator=bool(self._endpoint))
        # Looks the bucket up in the background for trace labels, which needs storage.buckets.get.
        client._bucket_metadata_cache = None
        client._http.mount("https://", self._adapter)
        client._http.mount("http://", self._adapter)
        return client.bucket(self.bucket)

    def _unusable(self, action: str, reason: str) -> PipelineError:
        return storage_trouble("passing", action, bucket=self.bucket, project=self._project, reason=reason)

    def _translated(self, error: Exception, action: str) -> PipelineError:
        kind = _kind(error)
        if kind == "missing" and self._bucket_seen:
            kind = "vanished"
        if kind == "passing" and not self._adapter.has_answered:
            return unreachable(self._endpoint, stage="land", uri=self.root_uri, reason=reason_of(error))
        return storage_trouble(kind, action, bucket=self.bucket, project=self._project, reason=reason_of(error))


def _calling(connect_s: float, read_s: float, retry_s: float) -> dict[str, Any]:
    return {
        "timeout": (connect_s, read_s),
        "retry": DEFAULT_RETRY.with_delay(initial=0.2, maximum=8.0, multiplier=2.0).with_timeout(retry_s),
    }


def _kind(error: Exception) -> Trouble:
    """The one table from Google's, requests' and google-auth's exceptions to what they mean."""
    if isinstance(error, api.NotFound):
        return "missing"
    if _is_passing(error):
        return "passing"
    if isinstance(error, api.Forbidden) and (words := set(reason_of(error).split())) & _FORBIDDEN.keys():
        return next(trouble for word, trouble in _FORBIDDEN.items() if word in words)
    if isinstance(error, api.Unauthorized | api.Forbidden | auth.GoogleAuthError):
        return "refused"
    return "unknown"


def _is_passing(error: Exception) -> bool:
    if isinstance(error, api.Forbidden):
        return reason_of(error).endswith(("rateLimitExceeded", "userRateLimitExceeded"))
    if isinstance(error, InvalidResponse):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    if isinstance(error, _PASSING) or (isinstance(error, auth.GoogleAuthError) and error.retryable):
        return True
    # Most statuses have no class of their own in api_core. 409 and 410 are of a write beside another, and of an
    # upload that took too long (https://cloud.google.com/storage/docs/json_api/v1/status-codes).
    code = error.code if isinstance(error, api.GoogleAPICallError) else None
    return code is not None and (code in (408, 409, 410) or code >= 500 or 200 <= code < 400)


def _generation(blob: storage.Blob) -> int | None:
    """That of the answer which the blob was filled from; None where it was none of Cloud Storage's."""
    try:
        return int(blob.generation)
    except (AttributeError, TypeError, ValueError):
        return None


def _stored(blob: storage.Blob) -> StoredObject:
    metadata = {key: value for key, value in (blob.metadata or {}).items() if key != WRITER_KEY}
    updated: dt.datetime | None = blob.updated
    return StoredObject(blob.name, int(blob.generation), int(blob.size or 0), metadata, updated)
