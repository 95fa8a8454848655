"""Testing a contract file before it is kept."""

import importlib.util
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import ModuleType

import msgspec
from msgspec import Struct

from sluice.authoring.examples import example_message
from sluice.authoring.lint import lint
from sluice.authoring.new_topic.sampling import SampledMessage
from sluice.contract import Contract
from sluice.contract.columns import columns_of
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.decode.decoder import Decoder
from sluice.decode.factory import build_decoder
from sluice.errors import ContractError
from sluice.kafka.schema_registry import SchemaRegistry
from sluice.refusals import Refusal


@contextmanager
def import_draft(source: str) -> Iterator[Contract]:
    """Import a contract file from a temporary folder.

    Raises:
        ContractError: it cannot be imported, its documentation has gaps, a default is out of
            bounds, or its table cannot be created.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sluice_new_topic_trial.py"
        path.write_text(source)
        try:
            module = _import(path)
            contract: Contract = module.contract
            _check_columns(contract)
            _check_defaults(module)
        except (ValueError, TypeError, SyntaxError) as error:
            raise ContractError(f"the contract cannot be used: {error}") from error
        finally:
            sys.modules.pop(path.stem, None)
        if gaps := lint(contract):
            raise ContractError(f"the contract's documentation has gaps: {'; '.join(gaps)}")
        yield contract


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _check_columns(contract: Contract) -> None:
    """Refuse a message without a table."""
    columns_of(contract.message)
    ClickHouseSchemaMapper.of(contract).create_table()


def _check_defaults(module: ModuleType) -> None:
    """Refuse a default that is out of bounds, which msgspec does not check."""
    for struct in vars(module).values():
        if not (isinstance(struct, type) and issubclass(struct, Struct)):
            continue
        if struct.__module__ != module.__name__:
            continue
        for field in msgspec.structs.fields(struct):
            default = field.default
            if default is msgspec.NODEFAULT:
                if field.default_factory is msgspec.NODEFAULT:
                    continue
                default = field.default_factory()
            try:
                msgspec.convert(msgspec.to_builtins(default), field.type)
            except msgspec.ValidationError as error:
                text = f"its default is out of bounds ({error})"
                raise ContractError(text, field=field.encode_name) from error


def trial_notes(
    contract: Contract,
    messages: Sequence[SampledMessage],
    registry: SchemaRegistry | None = None,
) -> list[str]:
    """Whether the contract reads the sampled messages, and whether it can generate messages."""
    refusals, examples = _refusals(build_decoder(contract, registry), messages)
    notes = [
        f"{count:,} of {len(messages):,} sampled messages will be refused: {reason}"
        + (f" at {field}" if field else "")
        + f", e.g. {examples[(reason, field)]}"
        for (reason, field), count in refusals.most_common()
    ]
    if messages and not refusals:
        notes.append("the contract reads every sampled message")
    try:
        example_message(contract, Random(0))
    except ContractError as error:
        notes.append(f"no sample messages can be generated: {error}")
    return notes


def decoded(
    contract: Contract,
    messages: Sequence[SampledMessage],
    registry: SchemaRegistry | None = None,
) -> list[Struct]:
    """The sampled messages that the contract reads."""
    decoder = build_decoder(contract, registry)
    results = (decoder.decode(message.value, message.version) for message in messages)
    return [result[0] for result in results if not isinstance(result, Refusal)]


def _refusals(
    decoder: Decoder, messages: Sequence[SampledMessage]
) -> tuple[Counter[tuple[str, str]], dict[tuple[str, str], str]]:
    """Refused messages by reason and field: their number, and the first one."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for message in messages:
        result = decoder.decode(message.value, message.version)
        if isinstance(result, Refusal):
            kind = (result.reason.value, result.field)
            counts[kind] += 1
            place = f"partition {message.object.partition}, offset {message.object.offset}"
            examples.setdefault(kind, f"{place}: {result.message}")
    return counts, examples
