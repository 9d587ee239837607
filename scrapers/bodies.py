"""Undoes the packing of a body: by what it is, and by its label only where that cannot be told. Pure.

Sources say "gzip" of plain text, "utf-8" where the name of a packing belongs, and nothing at all of a gzip stream.
What is unambiguous is read, and ``notice`` hears of the label once; the rest is refused by label and content.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

from alerting.errors import PipelineError, SourceContractError, SourceUnavailable, Truncated
from alerting.redaction import redact

_GZIP = ("gzip", "x-gzip")
_MAGIC = b"\x1f\x8b"
_HEAD_BYTES = 64
_BLOCK_BYTES = 512
_PIECE_BYTES = 65_536
_MOST_LABELS = 4
_TEXT_CONTROLS = frozenset(b"\t\n\r\f")
_PLAIN_HEADER = b"\x1f\x8b\x08\0"
"""Of a gzip stream without a name, a comment, or another field of its sender (RFC 1952)."""
_WORTH_KEEPING = 3

Notice = Callable[[str], None]


def _no_notice(_: str) -> None:
    pass


def unpacked(
    chunks: Iterable[bytes], encoding: str, max_bytes: int, *, is_text: bool = True, notice: Notice = _no_notice
) -> Iterator[bytes]:
    """The body piece by piece, without its ``Content-Encoding``.

    Done here because httpx 0.28 takes a gzip stream that ends too early for a complete body. Raises
    ``SourceUnavailable`` for a cut-off or broken stream, ``Truncated`` as soon as more than ``max_bytes`` came out,
    ``SourceContractError`` for a packing that was not asked for.

    Args:
        chunks: As received.
        encoding: The header's value, "" for none.
        max_bytes: Most bytes that may come out, of any packing inside another too.
        is_text: The source promises text, so that a gzip stream without a label is a packing and no document.
        notice: Told of each label that is not true of the content.
    """
    labels = [label for each in encoding.split(",") if (label := each.strip().lower()) not in ("", "identity")]
    if len(labels) > _MOST_LABELS:
        raise SourceContractError(f"{len(labels)} packings, one inside the other, were not asked for")
    pieces: Iterator[bytes] = iter(chunks)
    for label in reversed(labels):
        pieces = _layer(pieces, label, max_bytes, notice)
    if is_text:
        pieces = _layer(pieces, "", max_bytes, notice)
    size_bytes = 0
    for piece in pieces:
        size_bytes += len(piece)
        if size_bytes > max_bytes:
            raise _too_large(max_bytes)
        yield piece


def storable(packed: bytes, body: bytes) -> bytes:
    r"""The gzip stream that ``body`` came in, without the instant in it; b"" where it is not to be stored as it is.

    To pack 108 kB again takes 1.3 ms, a tenth of all that a date costs. Its checksum and length have to be those of
    ``body``. They are not where there are several members, padding or one packing inside another, and where a key was
    masked in the body.

    >>> import gzip
    >>> body = bytes(1000)
    >>> kept = storable(gzip.compress(body, mtime=7), body)
    >>> gzip.decompress(kept) == body, kept[4:8]
    (True, b'\x00\x00\x00\x00')
    >>> storable(gzip.compress(body) + bytes(9), body), storable(body, body), storable(gzip.compress(b"1"), b"1")
    (b'', b'', b'')
    """
    if not packed.startswith(_PLAIN_HEADER) or len(packed) * _WORTH_KEEPING > len(body):
        return b""
    if not packed.endswith(struct.pack("<II", zlib.crc32(body), len(body) % 2**32)):
        return b""
    return packed[:4] + bytes(4) + packed[8:]


def _too_large(max_bytes: int) -> Truncated:
    return Truncated(
        f"the body is larger than {max_bytes} bytes; nothing of it was kept",
        hint="raise max_body_bytes of this scraper, or request less at a time",
    )


def beginning(chunks: Iterable[bytes], encoding: str, size_bytes: int, broken: tuple[type[Exception], ...]) -> bytes:
    """The first bytes of an error's body, as many as can be had: evidence only, so a damaged one is no other error.

    The same bytes give the same beginning however the network cut them. ``broken`` is what ``chunks`` may raise.
    """
    kept = bytearray()
    blocks = _blocks(chunks, broken)
    with contextlib.suppress(PipelineError):
        for piece in unpacked(blocks, encoding, 1024 * size_bytes):
            kept += piece
            if len(kept) >= size_bytes:
                break
    return bytes(kept[:size_bytes])


def _blocks(chunks: Iterable[bytes], broken: tuple[type[Exception], ...]) -> Iterator[bytes]:
    """Blocks of one size: what a damaged stream still gives must not depend on where a chunk ended."""
    left = bytearray()
    with contextlib.suppress(PipelineError, *broken):
        for chunk in chunks:
            left += chunk
            while len(left) >= _BLOCK_BYTES:
                yield bytes(left[:_BLOCK_BYTES])
                del left[:_BLOCK_BYTES]
    if left:
        yield bytes(left)


def _layer(chunks: Iterator[bytes], label: str, max_bytes: int, notice: Notice) -> Iterator[bytes]:
    """One packing undone; without a label only what is gzip all the same."""
    head, chunks = _peeked(chunks)
    if not head:
        return
    if head.startswith(_MAGIC):
        if label not in _GZIP:
            notice(f"a gzip stream is labelled {_named(label)}")
        yield from _gunzipped(chunks, max_bytes)
    elif not label:
        yield from chunks
    elif _is_plain(head):
        notice(f"plain text is labelled {_named(label)}")
        yield from chunks
    elif label in _GZIP:
        raise SourceUnavailable("the gzip body is damaged; nothing of it was kept", reason="no gzip header")
    else:
        raise SourceContractError(
            f"content encoding {_named(label)} was not asked for, gzip was; the body begins with "
            f"{head[:8].hex(' ')}, which is neither text nor gzip"
        )


def _named(label: str) -> str:
    return repr(redact(label)[:40]) if label else "as nothing packed"


def _peeked(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    head, taken = b"", []
    for chunk in chunks:
        taken.append(chunk)
        head += chunk[:_HEAD_BYTES]
        if len(head) >= _HEAD_BYTES:
            break
    return head[:_HEAD_BYTES], itertools.chain(taken, chunks)


def _is_plain(head: bytes) -> bool:
    """Text by its first bytes: no control characters, and UTF-8 but for a character that is cut at the end."""
    if any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in head):
        return False
    for cut in range(4):
        with contextlib.suppress(UnicodeDecodeError):
            head[: len(head) - cut].decode()
            return True
    return False


def _gunzipped(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    started, size_bytes = False, 0
    for chunk in chunks:
        data = chunk
        while data:
            if stream.eof:
                # Zeros behind a member are padding (https://www.gnu.org/software/gzip/manual/gzip.html#Tapes).
                data = data.lstrip(b"\0")
                if not data:
                    break
                stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            started = True
            try:
                # The bound keeps a small body that unpacks to gigabytes from filling the memory, and a packed packing
                # of a million empty members from being copied as often.
                piece = stream.decompress(data, min(max_bytes + 1, _PIECE_BYTES))
            except zlib.error as error:
                raise SourceUnavailable("the gzip body is damaged; nothing of it was kept", reason=str(error)) from None
            size_bytes += len(piece)
            if size_bytes > max_bytes:
                raise _too_large(max_bytes)
            yield piece
            data = stream.unconsumed_tail or stream.unused_data
    if started and not stream.eof:
        raise SourceUnavailable("the gzip body ended too early; nothing of it was kept")
