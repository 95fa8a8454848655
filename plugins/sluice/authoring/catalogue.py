"""The schema catalogue: a page a topic, made from the contract and its documentation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as mi

from sluice.authoring.version_samples import sample_path
from sluice.contract import Contract, Version
from sluice.contract.columns import columns_of
from sluice.contract.docstrings import SECTIONS, attribute_docs, docstring_sections, section_entries
from sluice.contract.type_map import walk_structs
from sluice.contract.type_names import type_name
from sluice.contract.versions import later_versions, origin_of, version_class
from sluice.decode.decoder import Decoder
from sluice.errors import Refusal

_NOTE = "<!-- Made by 'sluice schema docs --write' from the contract. Do not edit. -->\n\n"


def pages(contracts: dict[str, Contract], samples: Path) -> dict[str, str]:
    """File name → text, of the index and of each topic; see :func:`page`."""
    rows = [
        f"| [{c.topic}]({c.topic}.md) | {_first_sentence(c)} | {c.version.name} | `{c.table.name}`"
        f" | {c.owner} |"
        for c in contracts.values()
    ]
    index = (
        f"{_NOTE}# Schemas\n\n| topic | what it carries | version | table | owner |\n"
        "|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    return {"README.md": index} | {
        f"{c.topic}.md": _NOTE + page(c, samples) for c in contracts.values()
    }


def page(contract: Contract, samples: Path) -> str:
    """The page of one topic, as Markdown.

    Args:
        samples: folder of the versions' samples.
    """
    told = docstring_sections(contract.message)
    table = contract.table
    ordered = ", ".join(table.order_by)
    parts = [
        f"# {contract.topic}\n",
        f"{_summary(contract.message)}\n",
        _table(
            ("topic", "subject", "current version", "key", "table", "owner", "schedule (UTC)"),
            [
                (
                    f"`{contract.topic}`",
                    f"`{contract.subject}`",
                    contract.version.name,
                    f"`{contract.key}`",
                    f"`{contract.table.name}`",
                    contract.owner,
                    f"`{contract.schedule}`" if contract.schedule else "by hand",
                )
            ],
        ),
        _section("Purpose", told),
        _section("Characteristics", told),
        "## Fields\n",
        _table(("field", "type", "since", "meaning"), list(_fields(contract))),
        *_nested(contract),
        "## Columns\n",
        f"Of `{table.name}`, {table.engine} by `{ordered}`, beside the lineage columns.\n",
        _table(("column", "ClickHouse type", "from"), list(_columns(contract))),
        "## Versions\n",
        _table(("version", "released", "what changed", "history"), list(_versions(contract))),
        "## Who reads what\n",
        "Consumers of the row's version, messages of the column's; found by decoding samples.\n",
        _matrix(contract, samples),
        *(_section(name, told) for name in SECTIONS[3:7]),
        "## Quality rules\n",
        "\n".join(f"- {rule.name} ({rule.severity})" for rule in contract.rules)
        or "Those that follow from the types.",
        "\n## Example\n",
        f"```json\n{_example(contract, samples)}\n```",
    ]
    return "\n".join(parts).rstrip() + "\n"


def _summary(cls: type[Struct]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _first_sentence(contract: Contract) -> str:
    return _summary(contract.message).rstrip(".")


def _section(name: str, told: dict[str, list[str]]) -> str:
    text = " ".join(line.strip() for line in told.get(name, ()))
    if name == "Compatibility":
        listed = section_entries(told.get(name, []))
        text = "\n".join(f"- {key}: {value}" for key, value in listed.items()) or text
    return f"## {name}\n\n{text}\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    shown = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in shown)


def _fields(contract: Contract) -> Iterator[tuple[str, ...]]:
    since = {n: v.name for v in contract.versions for n in (*v.added, *v.renamed.values())}
    first = contract.versions[0].name
    docs = attribute_docs(contract.message)
    for field in _info(contract.message).fields:
        yield (
            f"`{field.encode_name}`",
            type_name(field.type) + ("" if field.required else ", may be left out"),
            since.get(field.name, first),
            docs.get(field.name, ""),
        )


def _nested(contract: Contract) -> Iterator[str]:
    _, *within = walk_structs(contract.message)
    for cls in within:
        docs = attribute_docs(cls)
        rows: list[tuple[str, ...]] = [
            (f"`{f.encode_name}`", type_name(f.type), docs.get(f.name, ""))
            for f in _info(cls).fields
        ]
        yield f"### {cls.__name__}\n\n{_summary(cls)}\n"
        yield _table(("field", "type", "meaning"), rows)


def _columns(contract: Contract) -> Iterator[tuple[str, ...]]:
    for column in columns_of(contract.message):
        type_ = str(column.type.stored).replace("`", "")
        yield f"`{column.name}`", f"`{type_}`", f"`{'.'.join(column.path)}`"


def _versions(contract: Contract) -> Iterator[tuple[str, ...]]:
    history = section_entries(docstring_sections(contract.message).get("Version history", []))
    for version in reversed(contract.versions):
        told = history.get(version.name, "").removeprefix(f"{version.released}. ")
        yield version.name, version.released.isoformat(), _changes(version), told


def _changes(version: Version) -> str:
    changes = [f"adds `{n}`; older messages get {_shown(v)}" for n, v in version.added.items()]
    changes += [f"renames `{old}` to `{new}`" for old, new in version.renamed.items()]
    changes += [f"removes `{name}`" for name in version.removed]
    if version.lift:
        changes.append(f"lifts by `{version.lift.__name__}`")
    return "; ".join(changes) or "first version"


def _shown(value: Any) -> str:
    return f"`{msgspec.json.encode(value).decode()}`"


def _matrix(contract: Contract, samples: Path) -> str:
    versions = contract.versions
    rows = [
        (f"**{reader.name}**", *(_reads(contract, reader, other, samples) for other in versions))
        for reader in versions
    ]
    return _table(("", *(v.name for v in versions)), rows)


def _reads(contract: Contract, reader: Version, other: Version, samples: Path) -> str:
    """Whether a consumer of one version reads a sample of another."""
    path = sample_path(contract, other, samples)
    if not path.exists():
        return "no sample"
    data = path.read_bytes()
    if reader is contract.version:
        found = Decoder(contract).decode(data, other.name)
        return "no" if isinstance(found, Refusal) else "yes"
    if other.number <= reader.number:
        # What it filled then is no part of today's contract; its consumers did as loads do now.
        return "yes"
    for step in later_versions(contract, reader):
        if step.number > other.number:
            break
        if step.removed:
            return f"no: `{step.removed[0]}` is gone"
        if step.renamed or step.lift:
            return f"no: {step.name} changed the form"
    if origin_of(contract, reader).lifted:
        return "yes"  # since then fields were only added
    try:
        msgspec.json.decode(data, type=version_class(contract, reader))
    except msgspec.ValidationError as error:
        return f"no: {error}"
    return "yes"


def _example(contract: Contract, samples: Path) -> str:
    path = sample_path(contract, contract.version, samples)
    return path.read_text().strip() if path.exists() else "{}"


def _info(struct: type[Struct]) -> mi.StructType:
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return info
