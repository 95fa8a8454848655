"""Fuzzes the decoder for unhandled input: ``python -m tests.fuzz.decode``.

For any bytes and any version header, the decoder returns a message of the contract or a refusal
with a reason of the fixed list. An accepted message that is encoded as JSON is accepted again and
is equal; a refusal can be encoded as JSON, as the quarantine does. An input that violates this
stops the run and is saved in ``.local/fuzz``; pass the file as an argument to run it again.

The first byte of an input chooses the contract, the version header and the wire format.
"""

import importlib
import os
import sys
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec

# Has no types, and is not available on every platform.
atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["sluice"]):
    from sluice.authoring.sample_messages import broken_values, make_samples
    from sluice.contract import Contract, Version, discover
    from sluice.decode import wire
    from sluice.decode.decoder import Decoder
    from sluice.refusals import Reason, Refusal
    from sluice.services.validators import as_current
    from tests.contracts import contract_of

FINDINGS = Path(".local/fuzz")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Covers what the example contracts lack: a rename, a lift, and limits on most fields."""

    id: str
    count: int
    share: Decimal | None
    weight: float = 0.0
    days: tuple[date, ...] = ()
    marks: dict[str, list[int]] = {}
    colour: str


def _lift(value: dict[str, Any]) -> dict[str, Any]:
    return value | {"share": value.pop("percent") / 100}


ITEMS = contract_of(
    Item,
    sample=lambda random: Item(
        id=f"t{random.randrange(9)}",
        count=random.randrange(-9, 9),
        share=random.choice((None, Decimal("0.25"))),
        weight=0.1,
        days=(date(2026, 1, 1),),
        marks={"a": [1, 2]},
        colour="red",
    ),
    versions=[
        Version(name="1.0", released=date(2026, 1, 1)),
        Version(name="2.0", released=date(2026, 2, 1), lift=_lift),
        Version(name="3.0", released=date(2026, 3, 1), renamed={"number": "count"}),
        Version(name="3.1", released=date(2026, 4, 1), added={"colour": ""}),
    ],
)
CONTRACTS = [ITEMS, *discover().values()][:16]  # half a byte selects one of 16
DECODERS = [Decoder(contract) for contract in CONTRACTS]

OWN_HEADER, REGISTRY = 7, 8
"""Parts of the first byte: 0 for no header, 1 to 6 for the header of a known version, 7 for a
header that the input contains; plus 8 for a registry header, plus 16 times the contract's number.
"""
NUMBERS = b"1e400 -1e99999999999999999999 1e-400 -0.0 0.1 -1 9223372036854775808 1%s" % (b"0" * 400)
RAW = [msgspec.Raw(number) for number in NUMBERS.split()]
ODD: list[Any] = [None, True, 0, "", "x" * 300, "1E-30", "é", [], {}, [{}], *RAW]
"""Replacements for values."""
JSON = rb"""null true NaN 1e999 -0.0 "\ud800" [[[[ {": [] {} "" \u005f 9223372036854775808 1E-30"""
TIMES = b"0001-01-01 2300-01-01 2299-12-31T23:59:59.9999999-14:00"
WIRE = [b"\xef\xbb\xbf", b"\xff\xfe", b"\x00\x00\x00\x00\x07"]
"""Pieces that random bytes are unlikely to contain."""


def split(data: bytes) -> tuple[int, bytes, bytes]:
    """Split an input into the contract's number, the version header and the message's bytes."""
    choice, rest = data[0], data[1:]
    number = (choice >> 4) % len(CONTRACTS)
    if choice & 7 == OWN_HEADER:
        length = rest[0] % 64 if rest else 0
        return number, rest[1 : 1 + length], rest[1 + length :]
    versions = CONTRACTS[number].versions
    name = versions[choice % len(versions)].name if choice & 7 else ""
    return number, name.encode(), rest


def check_input(data: bytes) -> None:
    """Check the decoder's guarantee for one input.

    Raises:
        AssertionError: it does not hold. Any other exception escaped from the decoder.
    """
    if not data:
        return
    number, header, value = split(data)
    if data[0] & REGISTRY:
        value = b"\x00\x00\x00\x00\x07" + value
    names = ("schema_version", "traceparent", "x-correlation-id")
    version = wire.read_headers([(name, header) for name in names]).version
    decode, contract = DECODERS[number].decode, CONTRACTS[number]
    result = decode(value, version)
    if isinstance(result, Refusal):
        assert type(result.reason) is Reason, result
        msgspec.json.encode(result)
        return
    message = as_current(contract, result[0])
    again = decode(msgspec.json.encode(message))
    assert again == (message, contract.version.name), again


def make_seeds(contract: Contract, number: int) -> list[bytes]:
    """Make initial inputs: every version with each header, and every kind of broken message."""
    samples = make_samples(contract, 10 * len(contract.versions), Random(1), 0, 0)
    values = [sample.value for sample in samples if sample.value]
    values += [broken(value) for value in values[:3] for broken in broken_values(contract)]
    if contract is ITEMS:
        values.append(b'{"id":"t","number":1,"percent":25.5,"weight":0.5,"marks":{"a":[1]}}')
    plain = [bytes([choice]) for choice in (0, REGISTRY, *range(1, len(contract.versions) + 1))]
    headers = [b"1.0", b"1.7", b"2.0", b"\xff", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"]
    own = [bytes([OWN_HEADER, len(header)]) + header for header in headers]
    inputs = [start + value for start in plain for value in values]
    inputs += [start + values[0] for start in own]
    return [bytes([seed[0] | number << 4]) + seed[1:] for seed in inputs]


SEEDS = [seed for number, contract in enumerate(CONTRACTS) for seed in make_seeds(contract, number)]


def mutate(data: bytes, limit: int, seed: int) -> bytes:
    """Change bytes, or one value inside the JSON, of the input or of a seed.

    Seeds are used again because libFuzzer drops inputs that reach no new line of Python: to it, a
    message with all fields is no better than the smallest one.
    """
    random = Random(seed)
    changed: bytes = atheris.Mutate(data, len(data))
    if random.random() < 0.5:
        return changed
    if not data or random.random() < 0.5:
        data = random.choice(SEEDS)
    rest = split(data)[2]
    try:
        value = msgspec.json.decode(rest)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return changed
    change(value, random)
    return (data[: len(data) - len(rest)] + msgspec.json.encode(value))[:limit]


def change(value: Any, random: Random) -> None:
    """Remove one element of an array or object, or replace it with an unusual value."""
    if not isinstance(value, dict | list) or not value:
        return
    key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if isinstance(value[key], dict | list) and value[key] and random.random() < 0.5:
        change(value[key], random)
    elif random.random() < 0.2:
        del value[key]
    else:
        value[key] = random.choice(ODD)


def fuzz(folder: Path, seconds: int, files: tuple[str, ...]) -> None:
    """Run libFuzzer, which ends the process when it has finished."""
    fields = {f.encode_name for c in CONTRACTS for f in msgspec.structs.fields(c.message)}
    words = [*JSON.split(), *TIMES.split(), *WIRE, b'"number"', b'"percent"']
    words += [msgspec.json.encode(name) for name in sorted(fields)]
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in escaped))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={FINDINGS}/",
        "-print_final_stats=1",
    ]
    atheris.enabled_hooks.add("RegEx")
    inputs = files or (str(corpus),)
    atheris.Setup([sys.argv[0], *options, *inputs], check_input, custom_mutator=mutate)
    atheris.Fuzz()


@click.command()
@click.option("--seconds", default=60, show_default=True, help="How long to run.")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
def main(seconds: int, files: tuple[str, ...]) -> None:
    """Fuzz the decoder for unhandled input, or run FILES that an earlier run saved."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sluice-fuzz-", ignore_cleanup_errors=True) as folder:
        child = os.fork()  # libFuzzer ends its own process, without cleaning up
        if not child:
            fuzz(Path(folder), seconds, files)
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
