"""The schema catalogue: one page per topic, from its contract and documentation."""

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
from sluice.contract.inspection import walk_structs
from sluice.contract.type_descriptions import type_name
from sluice.contract.versions import later_versions, origin_of, version_class
from sluice.decode.decoder import Decoder
from sluice.refusals import Refusal

_NOTE = "<!-- Generated from the contract by 'sluice schema docs --write'. Do not edit. -->\n\n"


def pages(contracts: dict[str, Contract], samples: Path) -> dict[str, str]:
    """File name → text, for the index and the page of each topic; see :func:`page`."""
    rows = [
        f"| [{c.topic}]({c.topic}.md) | {_first_sentence(c)} | {c.version.name} | `{c.table.name}`"
        f" | {c.owner} |"
        for c in contracts.values()
    ]
    index = (
        f"{_NOTE}# Schemas\n\n| topic | content | version | table | owner |\n"
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
    docs = docstring_sections(contract.message)
    table = contract.table
    sections = [
        f"# {contract.topic}\n",
        f"{_summary(contract.message)}\n",
        _overview(contract),
        _section("Purpose", docs),
        _section("Characteristics", docs),
        "## Fields\n",
        _table(("field", "type", "since", "meaning"), list(_fields(contract))),
        *_nested(contract),
        "## Columns\n",
        f"Of `{table.name}`: {table.engine}, ordered by `{', '.join(table.order_by)}`.\n",
        "The lineage columns, which every table has, are not listed.\n",
        _table(("column", "ClickHouse type", "from"), list(_columns(contract))),
        "## Versions\n",
        _table(("version", "released", "changes", "history"), list(_versions(contract))),
        "## Version compatibility\n",
        (
            "Whether a consumer of the row's version can read a message of the column's version;"
            " determined by decoding the samples.\n"
        ),
        _matrix(contract, samples),
        *(_section(name, docs) for name in SECTIONS[3:7]),
        "## Quality rules\n",
        "\n".join(f"- {rule.name} ({rule.severity})" for rule in contract.rules)
        or "Only the rules that follow from the types.",
        "\n## Example\n",
        f"```json\n{_example(contract, samples)}\n```",
    ]
    return "\n".join(sections).rstrip() + "\n"


def _overview(contract: Contract) -> str:
    return _table(
        ("topic", "subject", "current version", "key", "table", "owner", "schedule (UTC)"),
        [
            (
                f"`{contract.topic}`",
                f"`{contract.subject}`",
                contract.version.name,
                f"`{contract.key}`",
                f"`{contract.table.name}`",
                contract.owner,
                f"`{contract.cron}`" if contract.cron else "manual",
            )
        ],
    )


def _summary(cls: type[Struct]) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _first_sentence(contract: Contract) -> str:
    return _summary(contract.message).rstrip(".")


def _section(name: str, docs: dict[str, list[str]]) -> str:
    text = " ".join(line.strip() for line in docs.get(name, ()))
    if name == "Compatibility":
        entries = section_entries(docs.get(name, []))
        text = "\n".join(f"- {key}: {value}" for key, value in entries.items()) or text
    return f"## {name}\n\n{text}\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _fields(contract: Contract) -> Iterator[tuple[str, ...]]:
    since = {n: v.name for v in contract.versions for n in (*v.added, *v.renamed.values())}
    first = contract.versions[0].name
    docs = attribute_docs(contract.message)
    for field in _info(contract.message).fields:
        yield (
            f"`{field.encode_name}`",
            type_name(field.type) + ("" if field.required else ", optional"),
            since.get(field.name, first),
            docs.get(field.name, ""),
        )


def _nested(contract: Contract) -> Iterator[str]:
    _, *nested = walk_structs(contract.message)
    for cls in nested:
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
        entry = history.get(version.name, "").removeprefix(f"{version.released}. ")
        yield version.name, version.released.isoformat(), _changes(version), entry


def _changes(version: Version) -> str:
    changes = [f"adds `{n}`; older messages get {_json(v)}" for n, v in version.added.items()]
    changes += [f"renames `{old}` to `{new}`" for old, new in version.renamed.items()]
    changes += [f"removes `{name}`" for name in version.removed]
    if version.lift:
        changes.append(f"converts older messages with `{version.lift.__name__}`")
    return "; ".join(changes) or "first version"


def _json(value: Any) -> str:
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
        result = Decoder(contract).decode(data, other.name)
        return "no" if isinstance(result, Refusal) else "yes"
    if other.number <= reader.number:
        # When the reader's version was current, its consumers filled older messages as loads do.
        return "yes"
    for step in later_versions(contract, reader):
        if step.number > other.number:
            break
        if step.removed:
            return f"no: `{step.removed[0]}` was removed"
        if step.renamed or step.lift:
            return f"no: {step.name} changed the structure"
    if origin_of(contract, reader).lifted:
        return "yes"  # later versions only added fields
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
