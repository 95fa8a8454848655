"""ClickHouse's errors as one sentence, its name for the error, and the field that it concerns.

The server's text repeats the statement, the parsed rows, its version and the address of the
request. All of that is left out.
"""

import re

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from sluice.errors import EngineError

TRANSIENT = {
    159: "TIMEOUT_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    252: "TOO_MANY_PARTS",
    254: "NO_ACTIVE_REPLICAS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    289: "REPLICA_IS_NOT_IN_QUORUM",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    999: "KEEPER_EXCEPTION",
}
"""Transient errors, which are retried. Every insert has a token, so repeating it is harmless."""

MAX_LENGTH = 300
"""Characters of a sentence."""

_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{3,})\)")
_KEY = re.compile(r"\(while reading the value of (?:nested )?key ([^)]*)\)")
_REST = re.compile(
    r"\n|:?\s*\((?:while reading|at row|in file)|:\s*[Ww]hile executing|\.?\s*In scope "
    r"|\s*\(for url |\s*\(version \d"
)
"""Where the server's text stops being the sentence."""


def from_driver(
    error: ClickHouseError, server: str = "", hides_values: bool = False
) -> EngineError:
    """The driver's error; ``server`` and ``hides_values`` as in :func:`engine_error`."""
    code = int(getattr(error, "code", None) or 0)
    transient = code in TRANSIENT or isinstance(error, OperationalError)
    return engine_error(code, str(error), server, hides_values, transient)


def engine_error(
    code: int, text: str, server: str = "", hides_values: bool = False, transient: bool = False
) -> EngineError:
    """The error of a response.

    Args:
        text: the server's or the driver's text.
        server: address of the server, if the error is about reaching it.
        hides_values: whether the text may repeat values that must not be shown.
        transient: whether the same statement may succeed when it is repeated.
    """
    text = text.split("DB::Exception: ", 1)[-1].strip()
    names = _NAME.findall(text)
    name = names[-1] if names else ""
    keys = _KEY.findall(text.split("DB::Exception", 1)[0])
    path = ".".join(reversed(keys)).partition(".")[2]  # the outermost key is the staged row
    if hides_values and code:
        sentence = "the server's text is not shown, because it may repeat sensitive values"
    else:
        sentence = _REST.split(text, maxsplit=1)[0].rstrip(" .:")
        sentence = _NAME.sub("", sentence).rstrip(" .:")
    if len(sentence) > MAX_LENGTH:
        sentence = f"{sentence[:MAX_LENGTH]}…"
    detail = f"{sentence} ({name})" if name else sentence
    if server:
        detail = f"{server}: {detail}"
    return EngineError(code, detail, name=name, field=path, transient=transient)
