"""Looks for bytes that the decoder does not answer: ``python -m tests.fuzz.decode``.

Any bytes, with any version header, give a message of the contract or a refusal with a reason of
the fixed list. A message that was accepted is accepted again, and equal, when it is written as
JSON; a refusal can be written as JSON, as the quarantine does. Whatever breaks this stops the
run, and the input stays in ``.local/fuzz``; give the file as an argument to run it again.

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

atheris: Any = importlib.import_module("atheris")  # has no types, and is not on every platform

with atheris.instrument_imports(include=["sluice"]):
    from sluice.authoring.sample_messages import broken_values, make_samples
    from sluice.contract import Contract, Version, discover
    from sluice.decode import wire
    from sluice.decode.decoder import Decoder
    from sluice.errors import Reason, Refusal
    from sluice.services.validators import as_current
    from tests.contracts import contract_of

FOUND = Path(".local/fuzz")


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """What the real contracts do not have: renamed, lifted, and a guard on most fields."""

    id: str
    count: int
    share: Decimal | None
    weight: float = 0.0
    days: tuple[date, ...] = ()
    marks: dict[str, list[int]] = {}
    colour: str


def _lift(value: dict[str, Any]) -> dict[str, Any]:
    return value | {"share": value.pop("percent") / 100}


THINGS = contract_of(
    Thing,
    sample=lambda random: Thing(
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
CONTRACTS = [THINGS, *discover().values()][:16]  # as many as half a byte tells apart
DECODERS = [Decoder(contract) for contract in CONTRACTS]

OWN_HEADER, REGISTRY = 7, 8
"""Parts of the first byte: below 7 no header (0) or a known version's, 7 for a header of the
input's own, plus 8 for a registry header, plus 16 times the number of the contract.
"""
NUMBERS = b"1e400 -1e99999999999999999999 1e-400 -0.0 0.1 -1 9223372036854775808 1%s" % (b"0" * 400)
RAW = [msgspec.Raw(number) for number in NUMBERS.split()]
ODD: list[Any] = [None, True, 0, "", "x" * 300, "1E-30", "é", [], {}, [{}], *RAW]
"""What a value is replaced with."""
JSON = rb"""null true NaN 1e999 -0.0 "\ud800" [[[[ {": [] {} "" \u005f 9223372036854775808 1E-30"""
TIMES = b"0001-01-01 2300-01-01 2299-12-31T23:59:59.9999999-14:00"
WIRE = [b"\xef\xbb\xbf", b"\xff\xfe", b"\x00\x00\x00\x00\x07"]
"""Pieces that random bytes do not hit upon."""


def split(data: bytes) -> tuple[int, bytes, bytes]:
    """The contract's number, the version header, and the rest: the message's bytes."""
    choice, rest = data[0], data[1:]
    number = (choice >> 4) % len(CONTRACTS)
    if choice & 7 == OWN_HEADER:
        length = rest[0] % 64 if rest else 0
        return number, rest[1 : 1 + length], rest[1 + length :]
    versions = CONTRACTS[number].versions
    name = versions[choice % len(versions)].name if choice & 7 else ""
    return number, name.encode(), rest


def one_input(data: bytes) -> None:
    """Hold the promise for one input.

    Raises:
        AssertionError: it does not hold. Any other exception is one that the decoder let out.
    """
    if not data:
        return
    number, header, value = split(data)
    if data[0] & REGISTRY:
        value = b"\x00\x00\x00\x00\x07" + value
    names = ("schema_version", "traceparent", "x-correlation-id")
    version = wire.read_headers([(name, header) for name in names]).version
    decode, contract = DECODERS[number].decode, CONTRACTS[number]
    found = decode(value, version)
    if isinstance(found, Refusal):
        assert type(found.reason) is Reason, found
        msgspec.json.encode(found)
        return
    message = as_current(contract, found[0])
    again = decode(msgspec.json.encode(message))
    assert again == (message, contract.version.name), again


def seeds(contract: Contract, number: int) -> list[bytes]:
    """Inputs to begin with: every version with each header, and all that is broken."""
    found = make_samples(contract, 10 * len(contract.versions), Random(1), 0, 0)
    values = [sample.value for sample in found if sample.value]
    values += [broken(value) for value in values[:3] for broken in broken_values(contract)]
    if contract is THINGS:
        values.append(b'{"id":"t","number":1,"percent":25.5,"weight":0.5,"marks":{"a":[1]}}')
    plain = [bytes([choice]) for choice in (0, REGISTRY, *range(1, len(contract.versions) + 1))]
    headers = [b"1.0", b"1.7", b"2.0", b"\xff", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"]
    own = [bytes([OWN_HEADER, len(header)]) + header for header in headers]
    inputs = [start + value for start in plain for value in values]
    inputs += [start + values[0] for start in own]
    return [bytes([seed[0] | number << 4]) + seed[1:] for seed in inputs]


SEEDS = [seed for number, contract in enumerate(CONTRACTS) for seed in seeds(contract, number)]


def mutate(data: bytes, limit: int, seed: int) -> bytes:
    """Change bytes, or one value inside the JSON: of the input, or of a seed.

    The seeds come back because libFuzzer drops what reaches no new line of Python: for it a
    message with all its fields is no better than the smallest one.
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
    """Take out, or replace with something odd, one part of an array or an object."""
    if not isinstance(value, dict | list) or not value:
        return
    key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if isinstance(value[key], dict | list) and value[key] and random.random() < 0.5:
        change(value[key], random)
    elif random.random() < 0.2:
        del value[key]
    else:
        value[key] = random.choice(ODD)


def look(folder: Path, seconds: int, files: tuple[str, ...]) -> None:
    """Run libFuzzer, which ends the process when it is done."""
    fields = {f.encode_name for c in CONTRACTS for f in msgspec.structs.fields(c.message)}
    words = [*JSON.split(), *TIMES.split(), *WIRE, b'"number"', b'"percent"']
    words += [msgspec.json.encode(name) for name in sorted(fields)]
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in escaped))
    corpus = folder / "corpus"
    corpus.mkdir()
    for at, seed in enumerate(SEEDS):
        (corpus / str(at)).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={FOUND}/",
        "-print_final_stats=1",
    ]
    atheris.enabled_hooks.add("RegEx")
    given = files or (str(corpus),)
    atheris.Setup([sys.argv[0], *options, *given], one_input, custom_mutator=mutate)
    atheris.Fuzz()


@click.command()
@click.option("--seconds", default=60, show_default=True, help="How long to look.")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
def main(seconds: int, files: tuple[str, ...]) -> None:
    """Look for inputs that the decoder does not answer, or run FILES that were found before."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sluice-fuzz-", ignore_cleanup_errors=True) as folder:
        child = os.fork()  # libFuzzer ends its process itself, without cleaning up
        if not child:
            look(Path(folder), seconds, files)
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
