"""Reads request bodies from the wire: removes chunk framing, then compression."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Protocol

import lz4.frame
from backports import zstd

from local.clickhouse.errors import ClickHouseError

READ_SIZE = 1 << 20


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Frames:
    """A sequence of compressed frames: clickhouse-connect sends one frame per block."""

    def __init__(self, new: Callable[[], _Decompressor]) -> None:
        self._new, self._current = new, new()

    def decompress(self, data: bytes) -> bytes:
        parts = []
        while data:
            if self._current.eof:
                self._current = self._new()
            parts.append(self._current.decompress(data))
            data = self._current.unused_data if self._current.eof else b""
        return b"".join(parts)

    @property
    def complete(self) -> bool:
        return self._current.eof


_CODECS: dict[str, Callable[[], _Decompressor]] = {
    "zstd": zstd.ZstdDecompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(15),
}


class Body:
    """The body of one request, decoded piece by piece.

    It must be read to its end before an error response is sent. Otherwise a client that is still
    sending gets a connection reset instead of the response, and repeats the request.
    """

    def __init__(self, stream: BinaryIO, headers: Mapping[str, str]) -> None:
        self._pieces = self._unframed(stream, headers)
        self._encoding = (headers.get("Content-Encoding") or "identity").lower()

    def __iter__(self) -> Iterator[bytes]:
        if self._encoding == "identity":
            yield from self._pieces
            return
        if self._encoding not in _CODECS:
            raise ClickHouseError(371, f"Unknown compression method: {self._encoding}")
        frames, empty = _Frames(_CODECS[self._encoding]), True
        for piece in self._pieces:
            empty = False
            try:
                decoded = frames.decompress(piece)
            except (zlib.error, zstd.ZstdError, RuntimeError) as error:
                raise ClickHouseError(354, f"Cannot decompress the body: {error}") from error
            if decoded:
                yield decoded
        if not empty and not frames.complete:
            raise ClickHouseError(354, "Cannot decompress the body: it ends within a frame")

    def drain(self) -> None:
        """Read and discard the rest of the body."""
        for _ in self._pieces:
            pass

    @staticmethod
    def _unframed(stream: BinaryIO, headers: Mapping[str, str]) -> Iterator[bytes]:
        if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
            while size := int(stream.readline().split(b";")[0] or b"cut short", 16):
                yield from _exactly(stream, size)
                stream.readline()
            while stream.readline().strip():
                pass
        else:
            yield from _exactly(stream, int(headers.get("Content-Length") or 0))


def _exactly(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read(min(size, READ_SIZE))
        if not piece:
            raise ConnectionError("the client disconnected during its request")
        size -= len(piece)
        yield piece
