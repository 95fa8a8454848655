"""The newest messages of a topic, for finding out what is in them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from sluice.authoring.new_topic.inference import Seen
from sluice.decode import wire
from sluice.errors import ContractError, Refusal
from sluice.kafka.broker import Broker
from sluice.ranges import OffsetRange, limit
from sluice.records import Record

_ROUNDS = 6
"""Times that more is read when most offsets carry no message."""


class SampledMessage(Struct, frozen=True):
    """One message that is a JSON object.

    Attributes:
        seen: the object, and where it was.
        value: the message's bytes, as they came.
        version: the version that a header names; empty when none does.
    """

    seen: Seen
    value: bytes
    version: str


class TopicSample(Struct, frozen=True):
    """A sample, in the order of partitions and offsets, and what was passed over, by its kind."""

    samples: Sequence[SampledMessage]
    passed_over: Mapping[str, int]


def sample_newest(broker: Broker, name: str, count: int) -> TopicSample:
    """The newest messages of a topic, as many of each partition as of any other.

    Raises:
        BrokerError: the topic is not there, or does not answer.
        ContractError: it has no message that is a JSON object.
    """
    topic = broker.topic(name)
    left = [OffsetRange(p, marks.low, marks.high) for p, marks in broker.watermarks(topic).items()]
    records: list[Record] = []
    for number in range(_ROUNDS):
        # Transactions and compaction leave offsets without a message: then more are needed.
        taken = tails(left, (count - len(records)) << number)
        if not taken or len(records) >= count:
            break
        for read, _ in broker.read(topic, taken):
            records += read
        left = remaining(left, taken)
    latest = sorted(records, key=lambda r: r.timestamp()[1])[-count:]
    found = parse(sorted(latest, key=lambda r: (r.partition(), r.offset())))
    if not found.samples:
        shown = _counted(found.passed_over)
        raise ContractError(
            f"topic {name!r} has no message that is a JSON object"
            + (f" (there are {shown})" if shown else "")
            + "; answer the questions, or give a --json-schema"
        )
    return found


def tails(ranges: Sequence[OffsetRange], count: int) -> list[OffsetRange]:
    """The last ``count`` offsets of ranges, one a partition, shared fairly."""
    highs = {r.partition: r.high for r in ranges}
    return [
        OffsetRange(r.partition, highs[r.partition] - r.count, highs[r.partition])
        for r in limit([r for r in ranges if r.count], count)
    ]


def remaining(ranges: Sequence[OffsetRange], taken: Sequence[OffsetRange]) -> list[OffsetRange]:
    """What is before the tails that were taken."""
    lows = {r.partition: r.low for r in taken}
    return [OffsetRange(r.partition, r.low, lows.get(r.partition, r.high)) for r in ranges]


def parse(records: Sequence[Record]) -> TopicSample:
    """Those messages that are JSON objects, and what the others are."""
    samples: list[SampledMessage] = []
    others: Counter[str] = Counter()
    for record in records:
        value = record.value()
        found = _object(value)
        if isinstance(found, str) or value is None:
            others[str(found)] += 1
            continue
        seen = Seen(found, record.partition(), record.offset())
        samples.append(
            SampledMessage(seen, value, wire.read_headers(record.headers() or ()).version)
        )
    return TopicSample(samples, dict(others))


def _object(value: bytes | None) -> dict[str, Any] | str:
    """The JSON object of a message, or what else it is."""
    if value is None:
        return "tombstone"
    payload = wire.strip_envelope(value)
    if isinstance(payload, Refusal):
        return payload.reason.value
    try:
        found = msgspec.json.decode(payload.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "not_json"
    return found if isinstance(found, dict) else "not_an_object"


def version_of(samples: Sequence[SampledMessage]) -> str:
    """The version that the contract must have, so that headers that name one are understood.

    A newer minor version is read as the current one, so its first one reads them all.
    """
    majors = Counter(
        match[1]
        for sample in samples
        if (match := re.fullmatch(r"(\d{1,9})\.\d{1,9}", sample.version))
    )
    return f"{majors.most_common(1)[0][0]}.0" if majors else "1.0"


def sample_notes(found: TopicSample) -> list[str]:
    """What a person should know of the sample."""
    told = [f"{len(found.samples):,} messages sampled"]
    if found.passed_over:
        told.append(f"passed over, since they are no JSON objects: {_counted(found.passed_over)}")
    return told


def characteristics(samples: Sequence[SampledMessage], day: str) -> str:
    """What the sample says of messages in general."""
    size = sum(len(sample.value) for sample in samples) / len(samples)
    partitions = len({sample.seen.partition for sample in samples})
    return (
        f"About {size:,.0f} bytes of JSON, in {len(samples):,} messages that were sampled on {day}"
        f" from {partitions} partition{'s' if partitions > 1 else ''}."
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
