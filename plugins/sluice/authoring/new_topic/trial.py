"""Trying a contract file before it is kept."""

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

from sluice.authoring.lint import lint
from sluice.authoring.new_topic.sampling import SampledMessage
from sluice.contract import Contract
from sluice.contract.columns import columns_of
from sluice.contract.ddl import ClickHouseSchemaMapper
from sluice.decode.decoder import Decoder
from sluice.errors import ContractError, Refusal


@contextmanager
def import_draft(source: str) -> Iterator[Contract]:
    """The contract of a file that is not yet in its place.

    Raises:
        ContractError: it cannot be imported, has gaps, or no table can be made from it.
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
    """Refuse what no table can be made of."""
    try:
        columns_of(contract.message)
    except ContractError as error:
        raise ContractError(f"{error}, or leave one out with --skip-field") from error
    ClickHouseSchemaMapper.of(contract).create_table()


def _check_defaults(module: ModuleType) -> None:
    """Refuse a default outside of its own bounds, which msgspec does not look at."""
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
                raise ContractError(
                    f"field {field.encode_name!r}: its default does not fit ({error})"
                ) from error


def trial_notes(contract: Contract, samples: Sequence[SampledMessage]) -> list[str]:
    """Whether the contract reads the messages it was made from, and can make some of its own."""
    told = []
    decoder = Decoder(contract)
    refused: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for sample in samples:
        found = decoder.decode(sample.value, sample.version)
        if isinstance(found, Refusal):
            kind = (found.reason.value, found.field)
            refused[kind] += 1
            where = f"partition {sample.seen.partition}, offset {sample.seen.offset}"
            first.setdefault(kind, f"{where}: {found.message}")
    for (reason, field), number in refused.most_common():
        at = f" at {field}" if field else ""
        told.append(
            f"{number:,} of {len(samples):,} sampled messages will be refused: {reason}{at}, e.g."
            f" {first[(reason, field)]}"
        )
    if samples and not refused:
        told.append("every sampled message is read by the contract")
    try:
        contract.example(Random(0))
    except ContractError as error:
        told.append(f"no sample messages can be made: {error}")
    return told
