"""Making the decoder of a contract."""

from sluice.contract import Contract
from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import Payloads
from sluice.kafka.schema_registry import SchemaRegistry


def decoder_of(contract: Contract, registry: SchemaRegistry | None) -> Decoder:
    """The decoder of a contract, which knows the schemas of the registry when there is one."""
    return Decoder(contract, Payloads(contract, registry) if registry else None)
