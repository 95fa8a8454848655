"""A sample of the newest messages of a topic."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from sluice.authoring.new_topic.inference import SampledValue
from sluice.authoring.new_topic.registered import RegisteredMessages
from sluice.decode import wire
from sluice.errors import ContractError
from sluice.kafka.broker import Broker
from sluice.ranges import OffsetRange, limit
from sluice.records import Record, readable_headers
from sluice.refusals import Reason, Refusal

_ROUNDS = 6
"""Number of reads when many offsets carry no message."""


class SampledMessage(Struct, frozen=True):
    """One message that is an object: of JSON, or of Avro or Protobuf with a registered schema.

    Attributes:
        object: the object, with partition and offset.
        value: the bytes of the message.
        version: the version in the headers; empty when there is none.
    """

    object: SampledValue
    value: bytes
    version: str


class TopicSample(Struct, frozen=True):
    """Messages by partition and offset, and the number of other messages by kind."""

    messages: Sequence[SampledMessage]
    others: Mapping[str, int]


def sample_newest(
    broker: Broker, name: str, count: int, registered: RegisteredMessages | None = None
) -> TopicSample:
    """The newest messages of a topic, the same number from each partition.

    Args:
        registered: reads messages with a registry header; without it they must be JSON.

    Raises:
        BrokerError: the topic does not exist, or the broker does not respond.
        ContractError: no message of the topic is an object that can be read.
        RegistryError: the schema registry does not respond.
    """
    topic = broker.topic(name)
    unread = [
        OffsetRange(p, marks.low, marks.high) for p, marks in broker.watermarks(topic).items()
    ]
    records: list[Record] = []
    for number in range(_ROUNDS):
        # Transactions and compaction leave offsets without a message: then more are read.
        ranges = tails(unread, (count - len(records)) << number)
        if not ranges or len(records) >= count:
            break
        for batch, _ in broker.read(topic, ranges):
            records += batch
        unread = remaining(unread, ranges)
    latest = sorted(records, key=lambda r: r.timestamp()[1])[-count:]
    sample = parse(sorted(latest, key=lambda r: (r.partition(), r.offset())), registered)
    if not sample.messages:
        others = f" (there are {_list_counts(sample.others)})" if sample.others else ""
        raise ContractError(
            f"no message is a JSON object{others}; describe the fields at the prompts, or use"
            f" --json-schema{_registry_hint(sample)}",
            topic=name,
        )
    return sample


def tails(ranges: Sequence[OffsetRange], count: int) -> list[OffsetRange]:
    """The last ``count`` offsets of ranges, one per partition, in equal shares."""
    highs = {r.partition: r.high for r in ranges}
    return [
        OffsetRange(r.partition, highs[r.partition] - r.count, highs[r.partition])
        for r in limit([r for r in ranges if r.count], count)
    ]


def remaining(ranges: Sequence[OffsetRange], read: Sequence[OffsetRange]) -> list[OffsetRange]:
    """The offsets of the ranges before their tails that were read."""
    lows = {r.partition: r.low for r in read}
    return [OffsetRange(r.partition, r.low, lows.get(r.partition, r.high)) for r in ranges]


def _registry_hint(sample: TopicSample) -> str:
    if Reason.UNKNOWN_WIRE_FORMAT.value not in sample.others:
        return ""
    return "; set SCHEMA_REGISTRY_URL to read Avro and Protobuf by their registered schemas"


def parse(records: Sequence[Record], registered: RegisteredMessages | None = None) -> TopicSample:
    """The messages that are objects, and the kinds of the others."""
    messages: list[SampledMessage] = []
    others: Counter[str] = Counter()
    for record in records:
        value = record.value()
        parsed = _parse_object(value, registered)
        if isinstance(parsed, str) or value is None:
            others[str(parsed)] += 1
            continue
        version = wire.read_headers(readable_headers(record) or ()).version
        sampled = SampledValue(parsed, record.partition(), record.offset())
        messages.append(SampledMessage(sampled, value, version))
    return TopicSample(messages, dict(others))


def _parse_object(
    value: bytes | None, registered: RegisteredMessages | None
) -> dict[str, Any] | str:
    """The object of a message, or the kind of message that it is instead."""
    if value is None:
        return "tombstone"
    if registered and value[:1] == b"\x00" and len(value) > wire.HEADER_BYTES:
        decoded = registered.parse(value)
        if decoded is not None:
            return decoded if isinstance(decoded, dict | str) else "not_an_object"
    payload = wire.strip_envelope(value)
    if isinstance(payload, Refusal):
        return payload.reason.value
    try:
        parsed = msgspec.json.decode(payload.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "not_json"
    return parsed if isinstance(parsed, dict) else "not_an_object"


def version_of(messages: Sequence[SampledMessage]) -> str:
    """The version of a contract that reads the versions in the messages' headers.

    It is the first minor version: a newer minor version is read as the current one.
    """
    majors = Counter(
        match[1]
        for message in messages
        if (match := re.fullmatch(r"(\d{1,9})\.\d{1,9}", message.version))
    )
    return f"{majors.most_common(1)[0][0]}.0" if majors else "1.0"


def sample_notes(sample: TopicSample) -> list[str]:
    """The size of the sample, one sentence each."""
    notes = [f"{len(sample.messages):,} messages sampled"]
    if sample.others:
        hint = _registry_hint(sample)
        notes.append(
            f"ignored, because they are not JSON objects: {_list_counts(sample.others)}{hint}"
        )
    return notes


def characteristics(messages: Sequence[SampledMessage], day: str) -> str:
    """The contract's section on the size of messages."""
    size = sum(len(message.value) for message in messages) / len(messages)
    partitions = len({message.object.partition for message in messages})
    return (
        f"About {size:,.0f} bytes per message, in a sample of {len(messages):,} messages"
        f" from {partitions} partition{'s' if partitions > 1 else ''} on {day}."
    )


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
