"""Making the decoder of a contract."""

from sluice.contract import Contract
from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import RegistryPayloads
from sluice.kafka.schema_registry import SchemaRegistry


def build_decoder(contract: Contract, registry: SchemaRegistry | None) -> Decoder:
    """The decoder of a contract, which knows the schemas of the registry when there is one."""
    return Decoder(contract, RegistryPayloads(contract, registry) if registry else None)
