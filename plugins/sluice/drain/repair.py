"""Refused messages that are validated again, with the contract's repair function to help."""

from sluice.contract import Contract
from sluice.decode.decoder import Decoded, Decoder
from sluice.errors import Refusal


class Repair:
    """Decodes what was refused before: as it is, and when that fails, repaired.

    Attributes:
        mended: the bytes that the last message was loaded from, when these are not its own.
    """

    def __init__(self, contract: Contract, decoder: Decoder) -> None:
        self.decoder, self._contract = decoder, contract
        self.mended: bytes | None = None

    def decode(self, value: bytes, version: str = "") -> Decoded | Refusal:
        """Validate one message; see :meth:`Decoder.decode`.

        A repair function that raises, or returns what is no bytes, leaves the message refused.
        """
        self.mended = None
        found = self.decoder.decode(value, version)
        if not isinstance(found, Refusal) or self._contract.repair is None:
            return found
        try:
            repaired = self._contract.repair(value)
        except Exception as error:  # a function of the user's, and bytes from anywhere
            return _refused(found, f"repair failed: {type(error).__name__}: {error}")
        if not isinstance(repaired, bytes):
            return _refused(found, f"repair returned {type(repaired).__name__}, not bytes")
        if repaired == value:
            return found
        again = self.decoder.decode(repaired, version)
        if isinstance(again, Refusal):
            return _refused(again, "after repair")
        self.mended = repaired
        return again


def _refused(refusal: Refusal, why: str) -> Refusal:
    return Refusal(
        reason=refusal.reason,
        message=f"{refusal.message} ({why[:300]})",
        field=refusal.field,
        version=refusal.version,
        code=refusal.code,
    )
