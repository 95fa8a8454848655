"""Construction of a contract's decoder."""

from sluice.contract import Contract
from sluice.decode.decoder import Decoder
from sluice.decode.registry_payloads import RegistryPayloads
from sluice.kafka.schema_registry import SchemaRegistry


def build_decoder(contract: Contract, registry: SchemaRegistry | None) -> Decoder:
    """The decoder of a contract; with a registry it also reads registered Avro and Protobuf."""
    return Decoder(contract, RegistryPayloads(contract, registry) if registry else None)
