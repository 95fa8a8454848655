"""ClickHouse's errors: a code, and a message that begins with it."""

import re

_CODE = re.compile(r"Code: (\d+)\.(?:\s*DB::Exception:\s*Code: \d+\.)*")

_STATUS = {
    516: 403,
    497: 403,
    60: 404,
    81: 404,
    115: 404,
    62: 400,
    47: 400,
    27: 400,
    36: 400,
    373: 400,
}
"""HTTP status per error code; 500 for all others, as in ClickHouse's HTTPHandler."""


class ClickHouseError(Exception):
    """An error in the form in which the HTTP interface reports it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}")
        self.code = code

    @property
    def status(self) -> int:
        """HTTP status of the response."""
        return _STATUS.get(self.code, 500)


def from_engine(error: Exception) -> ClickHouseError:
    """Convert the engine's error; drop the prefixes that chDB adds to its message."""
    text = str(error)
    match = _CODE.search(text)
    if not match:
        return ClickHouseError(1002, f"{type(error).__name__}: {text}")
    message = text[match.end() :].strip().removeprefix("DB::Exception:").strip()
    return ClickHouseError(int(match[1]), message)
