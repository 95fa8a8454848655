"""Validating refused messages again, with the help of the contract's repair function."""

from sluice.contract import Contract
from sluice.decode.decoder import Decoded, Decoder
from sluice.refusals import Refusal


class RepairingDecoder:
    """Decodes a message that was refused before: as it is, and when that fails, repaired.

    Attributes:
        repaired_value: the bytes that the last message was decoded from, if not its own.
    """

    def __init__(self, contract: Contract, decoder: Decoder) -> None:
        self._decoder, self._contract = decoder, contract
        self.repaired_value: bytes | None = None

    def decode(self, value: bytes, version: str = "") -> Decoded | Refusal:
        """Validate one message; see :meth:`Decoder.decode`.

        A repair function that raises, or returns something other than bytes, leaves the message
        refused.
        """
        self.repaired_value = None
        decoded = self._decoder.decode(value, version)
        if not isinstance(decoded, Refusal) or self._contract.repair is None:
            return decoded
        try:
            repaired = self._contract.repair(value)
        except Exception as error:  # a function of the user's, and bytes from anywhere
            return _annotated(decoded, f"repair failed: {type(error).__name__}: {error}")
        if not isinstance(repaired, bytes):
            return _annotated(decoded, f"repair returned {type(repaired).__name__}, not bytes")
        if repaired == value:
            return decoded
        again = self._decoder.decode(repaired, version)
        if isinstance(again, Refusal):
            return _annotated(again, "after repair")
        self.repaired_value = repaired
        return again


def _annotated(refusal: Refusal, note: str) -> Refusal:
    return Refusal(
        reason=refusal.reason,
        message=f"{refusal.message} ({note[:300]})",
        field=refusal.field,
        version=refusal.version,
        code=refusal.code,
    )
