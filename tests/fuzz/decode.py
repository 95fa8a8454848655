"""Looks for bytes that the decoder does not answer: ``python -m tests.fuzz.decode``.

Any bytes, with any version header, give a message of the contract or a refusal with a reason of
the fixed list. A message that was accepted is accepted again, and equal, when it is written as
JSON; a refusal can be written as JSON, as the quarantine does. Whatever breaks this stops the
run, and the input stays in ``.local/fuzz``; give the file as an argument to run it again.

The first byte of an input chooses the contract, the version header and the wire format.
"""

import atexit
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec

atheris: Any = importlib.import_module("atheris")  # has no types, and is not on every platform

with atheris.instrument_imports(include=["sluice"]):
    from sluice import wire
    from sluice.contract import Contract, discover
    from sluice.decode import Decoder
    from sluice.errors import Reason, Refusal
    from sluice.samples import broken_values, samples
    from sluice.validators import as_current

FOUND = Path(".local/fuzz")
CONTRACTS = list(discover().values())
DECODERS = [Decoder(contract) for contract in CONTRACTS]

NO_HEADER, OWN_HEADER, REGISTRY = 0, 7, 8
"""Values of the first byte: below 7 the number of a known version, 7 for a header of the input's
own, plus 8 for a registry header, plus 16 times the number of the contract.
"""


def decide(data: bytes) -> tuple[int, str, bytes]:
    """The contract's number, the version that the header names, and the message's bytes."""
    choice, value = data[0], data[1:]
    number = (choice >> 4) % len(CONTRACTS)
    names = [version.name for version in CONTRACTS[number].versions]
    header = b""
    if choice & 7 == OWN_HEADER:
        length = value[0] if value else 0
        header, value = value[1 : 1 + length], value[1 + length :]
    elif choice & 7:
        header = names[(choice & 7) % len(names)].encode()
    if choice & REGISTRY:
        value = b"\x00\x00\x00\x00\x07" + value
    names_of_headers = ("schema_version", "traceparent", "x-correlation-id")
    return number, wire.read_headers([(name, header) for name in names_of_headers]).version, value


def one_input(data: bytes) -> None:
    """Hold the promise for one input.

    Raises:
        AssertionError: it does not hold. Any other exception is one that the decoder let out.
    """
    if not data:
        return
    number, version, value = decide(data)
    found = DECODERS[number].decode(value, version)
    if isinstance(found, Refusal):
        assert type(found.reason) is Reason, found
        msgspec.json.encode(found)
        return
    contract = CONTRACTS[number]
    message = as_current(contract, found[0])
    again = DECODERS[number].decode(msgspec.json.encode(message))
    assert not isinstance(again, Refusal), again
    assert again == (message, contract.version.name), again


def seeds(contract: Contract, number: int) -> list[bytes]:
    """Inputs to begin with: every version with each header, and all that is broken."""
    values = {
        sample.value: None
        for sample in samples(contract, 20 * len(contract.versions), Random(1), 0, 0)
        if sample.value
    }
    bad = [broken(value) for value in list(values)[:3] for broken in broken_values(contract)]
    choices = [NO_HEADER, NO_HEADER | REGISTRY, *range(1, len(contract.versions) + 1)]
    plain = [
        bytes([number << 4 | choice]) + value for value in [*values, *bad] for choice in choices
    ]
    own = [
        bytes([number << 4 | OWN_HEADER, len(header)]) + header + next(iter(values))
        for header in (b"1.0", b"1.7", b"2.0", b"\xff", b"00-" + b"a" * 32 + b"-" + b"b" * 16)
    ]
    return plain + own


def words() -> list[bytes]:
    """Pieces that random bytes do not hit upon."""
    fields = [
        msgspec.json.encode(field.encode_name)
        for contract in CONTRACTS
        for field in msgspec.structs.fields(contract.message)
    ]
    json = [b"null", b"true", b"1e999", b"-1", b'"\\ud800"', b"[[[[", b'{"":', b"[]", b"{}", b'""']
    wire_ = [b"\xef\xbb\xbf", b"\xff\xfe", b"\x00\x00\x00\x00\x07", b"\\u005f", b"NaN", b"0001-01-"]
    return [*fields, *json, *wire_, b"9223372036854775808", b"2300-01-01T00:00:00Z", b"1E-30"]


@click.command()
@click.option("--seconds", default=60, show_default=True, help="How long to look.")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
def main(seconds: int, files: tuple[str, ...]) -> None:
    """Look for inputs that the decoder does not answer, or run FILES that were found before."""
    FOUND.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sluice-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    corpus, dictionary = folder / "corpus", folder / "words"
    corpus.mkdir()
    for number, contract in enumerate(CONTRACTS):
        for at, seed in enumerate(seeds(contract, number)):
            (corpus / f"{contract.topic}-{at}").write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words())
    dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
    options = [
        f"-max_total_time={seconds}",
        f"-dict={dictionary}",
        f"-artifact_prefix={FOUND}/",
        "-print_final_stats=1",
    ]
    atheris.enabled_hooks.add("RegEx")
    atheris.Setup([sys.argv[0], *options, *(files or [str(corpus)])], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
