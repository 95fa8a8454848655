"""Sample messages of a topic, for demos and tests: all versions, broken messages, tombstones."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import msgspec

from sluice.authoring.examples import example_message
from sluice.contract import Contract, Version
from sluice.contract.versions import origin_of
from sluice.kafka.broker import Broker


class SampleMessage(msgspec.Struct, frozen=True):
    """One message to produce."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


def make_samples(
    contract: Contract,
    count: int,
    random: Random,
    broken_share: float = 0.004,
    tombstone_share: float = 0.004,
    schema_ids: Mapping[str, int] = {},
) -> Iterator[SampleMessage]:
    """Messages like those of a topic in use: mostly of the current version, some of older ones.

    Args:
        schema_ids: ids in a schema registry by version; half of the messages carry them.
    """
    weights = [
        0.0 if origin_of(contract, version).lifted else 2.0**n
        for n, version in enumerate(contract.versions)
    ]
    broken = broken_values(contract)
    for _ in range(count):
        message = example_message(contract, random)
        key = str(getattr(message, contract.key)).encode()
        headers: list[tuple[str, str | bytes | None]] = []
        if random.random() < 0.2:
            headers.append(
                ("correlation_id", str(uuid.UUID(int=random.getrandbits(128), version=4)))
            )
        draw = random.random()
        if draw < tombstone_share:
            yield SampleMessage(key, None, headers)
            continue
        version = random.choices(contract.versions, weights)[0]
        value = as_version(contract, version, msgspec.to_builtins(message, str_keys=True))
        if random.random() < 0.1:
            headers.append(("schema_version", version.name))
        data = msgspec.json.encode(value)
        if draw < tombstone_share + broken_share:
            data = random.choice(broken)(data)
        if version.name in schema_ids and random.random() < 0.5:
            data = b"\x00" + schema_ids[version.name].to_bytes(4, "big") + data
        yield SampleMessage(key, data, headers)


def as_version(
    contract: Contract, version: Version, message: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A current message in the form of an older version; None if a function lifts that version."""
    origin = origin_of(contract, version)
    if origin.lifted:
        return None
    names = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}
    added = {names[field] for field in origin.filled}
    old_names = {names[field]: old for field, old in origin.renamed.items()}
    return {old_names.get(name, name): v for name, v in message.items() if name not in added}


def broken_values(contract: Contract) -> list[Callable[[bytes], bytes]]:
    """Functions that break a valid message, each in another way."""
    key = {f.name: f.encode_name for f in msgspec.structs.fields(contract.message)}[contract.key]

    def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
        def edited(data: bytes) -> bytes:
            value = msgspec.json.decode(data, type=dict[str, Any])
            change(value)
            return msgspec.json.encode(value)

        return edited

    return [
        lambda data: data[: len(data) // 2],
        lambda data: b"<order>not json</order>",
        lambda data: data + b"\x00\x00",
        lambda data: data.replace(b'":"', b'":"\xff', 1),
        edit(lambda value: value.pop(key)),
        edit(lambda value: value.update({key: 42})),
    ]


def produce(
    contract: Contract,
    broker: Broker,
    messages: Iterator[SampleMessage],
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Send messages to the contract's topic, and wait until the broker has acknowledged all.

    Raises:
        BrokerError: the broker did not take one of them.
    """
    broker.send(contract.topic, ((m.key, m.value, m.headers) for m in messages), progress=progress)
