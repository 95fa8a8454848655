"""Measures decoding, encoding and holding messages: ``python -m benchmarks.decoding``.

Times are CPU time of the process, as the median of several rounds; in each round the cases of a
group run in turn. They include freeing the message. The first case of a group is its baseline. Each
group runs in a fresh process, and so does each memory measurement.
"""

import gc
import json
import logging
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from random import Random
from typing import Any

import click
import msgspec
import psutil
import structlog
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from include.schemas.orders import AddressMessage, OrderEventMessage
from include.schemas.orders import contract as orders
from include.schemas.orders import sample as sample_order
from include.schemas.payments import contract as payments
from sluice.authoring.examples import example_message
from sluice.authoring.sample_messages import as_version
from sluice.contract import Contract
from sluice.decode.decoder import Decoder
from sluice.refusals import Refusal
from sluice.services.validator_metrics import MetricsCollector
from sluice.services.validators import BatchValidator, MonitoredValidator, ValidatorPool

Workloads = dict[str, Callable[[], object]]  # by name: one pass over all messages
Case = tuple[Callable[[], object], int, float]  # workload, number of messages, their mean size
Row = tuple[str, float, list[float]]  # name of the case, mean size, one figure per round


class Address(BaseModel):
    street: str
    city: str
    postal_code: str
    country: str


class LineItem(BaseModel):
    line_item_id: str
    product_id: str
    product_title: str
    quantity: int = Field(ge=1, le=1_000_000)
    price: float = Field(ge=0)
    discount: float = Field(ge=0)


class Order(BaseModel):
    """The current version of the orders contract as a pydantic model."""

    order_id: str = Field(min_length=1, max_length=64)
    created_at: datetime
    customer_name: str = Field(min_length=1, max_length=255)
    customer_email: str = Field(max_length=254)
    shipping_address: Address
    line_items: list[LineItem] = Field(min_length=1)
    total_price: float = Field(ge=0)
    notes: str = Field("", max_length=1000)


ADDRESSES = msgspec.structs.replace(
    payments,
    message=AddressMessage,  # a small message of four strings
    key="street",
    table=msgspec.structs.replace(payments.table, order_by=("street",)),
    sensitive=frozenset[str](),
    sample=lambda random: sample_order(random).shipping_address,
)


class Group(msgspec.Struct, frozen=True):
    """Cases compared with each other; ``cases`` builds them for a number of messages.

    Attributes:
        collect: whether the cycle collector is on; a load decodes with it off.
    """

    title: str
    claim: str
    cases: Callable[[int], dict[str, Case]]
    collect: bool = True


def each(function: Callable[[Any], object], values: Sequence[object]) -> None:
    """Call the function for every value and drop each result at once."""
    for value in values:
        function(value)


def hold(function: Callable[[Any], object], values: Sequence[object]) -> None:
    """Call the function for every value and keep all results, as a load keeps a batch."""
    _ = [function(value) for value in values]


def messages(contract: Contract, count: int, version: str = "") -> Iterator[bytes]:
    """Yield different messages of one version, by default the current one."""
    random = Random(1)
    wanted = next((v for v in contract.versions if v.name == version), contract.version)
    for _ in range(count):
        current = msgspec.to_builtins(example_message(contract, random))
        yield msgspec.json.encode(as_version(contract, wanted, current))


def cases_of(workloads: Workloads, data: Sequence[bytes]) -> dict[str, Case]:
    return {
        name: (work, len(data), sum(map(len, data)) / len(data)) for name, work in workloads.items()
    }


def from_json(data: bytes) -> Order:
    return Order.model_validate(json.loads(data))


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "msgspec: Decoder(Struct).decode": msgspec.json.Decoder(OrderEventMessage).decode,
    "json.loads, then model_validate": from_json,
    "pydantic: model_validate_json": Order.model_validate_json,
    "json.loads, nothing validated": json.loads,
}


def decoding(count: int) -> dict[str, Case]:
    data = list(messages(orders, count))
    struct = msgspec.json.decode(data[0], type=OrderEventMessage)
    assert from_json(data[0]).model_dump(mode="json") == msgspec.to_builtins(struct)
    return cases_of({name: partial(each, decode, data) for name, decode in DECODERS.items()}, data)


def encoding(count: int) -> dict[str, Case]:
    data = list(messages(orders, count))
    structs = [msgspec.json.decode(value, type=OrderEventMessage) for value in data]
    models = [from_json(value) for value in data]
    workloads: Workloads = {
        "msgspec: Encoder.encode": partial(each, msgspec.json.Encoder().encode, structs),
        "model_dump, then json.dumps": partial(
            each, lambda model: json.dumps(model.model_dump(mode="json")), models
        ),
        "pydantic: model_dump_json": partial(each, Order.model_dump_json, models),
    }
    return cases_of(workloads, data)


def monitored(contract: Contract, data: Sequence[bytes], level: int) -> None:
    """Validate with MonitoredValidator; events from ``level`` up are rendered but not written."""
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    hold(MonitoredValidator(contract, MetricsCollector()).validate, data)


def validating(contract: Contract, count: int) -> dict[str, Case]:
    data = list(messages(contract, count))
    raw = msgspec.json.Decoder(contract.message).decode
    workloads: Workloads = {
        "msgspec alone": partial(hold, raw, data),
        "msgspec alone, each dropped at once": partial(each, raw, data),
        "Decoder.decode": partial(hold, Decoder(contract).decode, data),
        "BatchValidator.validate_batch": partial(BatchValidator(contract).validate_batch, data),
        "ValidatorPool.validate": partial(hold, ValidatorPool(contract).validate, data),
        "MonitoredValidator, events filtered": partial(monitored, contract, data, logging.ERROR),
        "MonitoredValidator, events as JSON": partial(monitored, contract, data, logging.INFO),
    }
    return cases_of(workloads, data)


def upgrading(how: str, count: int) -> dict[str, Case]:
    """Decode each version, newest first.

    Args:
        how: how the decoder detects the version: by ``header``, by ``shape``, by shape behind a
            ``registry`` header, or by shape while a string equal to the newest field's name
            misleads it (``misled``).
        count: messages per version.
    """
    decode, cases = Decoder(orders).decode, dict[str, Case]()
    for version in reversed(orders.versions):
        header = version.name if how == "header" else ""
        data = list(messages(orders, count, version.name))
        if how == "registry":
            data = [b"\x00\x00\x00\x00\x07" + value for value in data]
        if how == "misled" and version is not orders.version:
            data = [v.split(b'"notes"')[0] + b'"notes":"shipping_address"}' for v in data]
        result = decode(data[0], header)
        assert not isinstance(result, Refusal) and result[1] == version.name, result
        work = partial(each, partial(decode, version=header), data)
        cases |= cases_of({f"version {version.name}": work}, data)
    return cases


def reusing(count: int) -> dict[str, Case]:
    data = list(messages(orders, count))
    build, struct, few = msgspec.json.Decoder, OrderEventMessage, data[: max(1, count // 100)]
    workloads: Workloads = {
        "one msgspec Decoder for all": partial(each, build(struct).decode, data),
        "a msgspec Decoder for each message": partial(
            each, lambda v: build(struct).decode(v), data
        ),
        "one sluice Decoder for all": partial(each, Decoder(orders).decode, data),
    }
    slow: Workloads = {
        "a sluice Decoder for each message": partial(each, lambda v: Decoder(orders).decode(v), few)
    }
    return cases_of(workloads, data) | cases_of(slow, few)


RATE = "1,200,000 validations per second per core"
UPGRADE = "an older message costs at most three times a current one"
GROUPS = (
    Group("decode an order", "msgspec is 5 to 10 times as fast as json + pydantic", decoding),
    Group("encode an order", "msgspec is 10 to 20 times as fast as json + pydantic", encoding),
    Group("validate orders, collector off", RATE, partial(validating, orders), False),
    Group("validate orders, collector on", RATE, partial(validating, orders)),
    Group("validate payments, collector off", RATE, partial(validating, payments), False),
    Group("validate addresses, collector off", RATE, partial(validating, ADDRESSES), False),
    Group("upgrade by shape", UPGRADE, partial(upgrading, "shape"), False),
    Group("upgrade by header", UPGRADE, partial(upgrading, "header"), False),
    Group("upgrade by shape, registry header", UPGRADE, partial(upgrading, "registry"), False),
    Group("upgrade by shape, guess misled", UPGRADE, partial(upgrading, "misled"), False),
    Group("reuse a decoder", "a compiled decoder is worth keeping", reusing, False),
)
HELD = {"the raw bytes": bytes, **DECODERS}
"""How each message is converted before it is kept, when memory is measured."""


def time_group(number: int, count: int, rounds: int, out: Connection) -> None:
    """Send the name of each case when it starts; at the end, ns per message by case and round."""
    group = GROUPS[number]
    cases = group.cases(count)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, (work, total, _) in cases.items():
            out.send(f"{name}, round {turn} of {rounds}" if turn else f"{name}, warming up")
            gc.collect()
            (gc.enable if group.collect else gc.disable)()
            began = time.process_time()
            work()
            times[name].append((time.process_time() - began) / total * 1e9)
    out.send([(name, size, times[name][1:]) for name, (_, _, size) in cases.items()])


def hold_many(name: str, count: int, out: Connection) -> None:
    """Send how many bytes per message the process grew while keeping ``count`` messages."""
    out.send(f"holding {count:,} messages: {name}")
    keep, held, size = HELD[name], [], 0
    before = psutil.Process().memory_info().rss
    for data in messages(orders, count):
        held.append(keep(data))
        size += len(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    out.send((name, size / count, [(peak - before) / len(held)]))


def run_in_fresh_process(work: Callable[..., None], show: Callable[[str], None], *args: Any) -> Any:
    """Run ``work`` and return its result; pass strings that it sends before to ``show``."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    context.Process(target=work, args=(*args, sender)).start()
    sender.close()
    while isinstance(message := receiver.recv(), str):
        show(message)
    return message


def table_of(title: str, claim: str, unit: str, rows: Sequence[Row]) -> Table:
    """Tabulate the medians, each compared with the first row."""
    table = Table(title=title, caption=f"claimed: {claim}", width=100)
    table.add_column("case")
    for column in ("bytes", unit, "lowest to highest", "per second", "× first"):
        table.add_column(column, justify="right")
    first = statistics.median(rows[0][2])
    for name, size, figures in rows:
        median = statistics.median(figures)
        spread = f"{min(figures):,.0f} to {max(figures):,.0f}"
        rate = f"{1e9 / median:,.0f}" if unit == "CPU ns" else "–"
        table.add_row(name, f"{size:.0f}", f"{median:,.0f}", spread, rate, f"{median / first:.2f}")
    return table


@click.command()
@click.option("--messages", "count", default=20_000, show_default=True, help="Messages per case.")
@click.option("--rounds", default=7, show_default=True, help="Measured runs per case.")
@click.option(
    "--held", default=100_000, show_default=True, help="Messages to hold when memory is measured."
)
def main(count: int, rounds: int, held: int) -> None:
    """Measure decoding, encoding and holding messages, compared with json and pydantic."""
    console = Console(highlight=False, width=100)
    with console.status("starting") as status:
        # Memory is measured first: a process inherits the peak of its parent.
        rows = [run_in_fresh_process(hold_many, status.update, name, held) for name in HELD]
        console.print(table_of(f"hold {held:,} orders", "msgspec needs less", "bytes held", rows))
        for number, group in enumerate(GROUPS):
            rows = run_in_fresh_process(time_group, status.update, number, count, rounds)
            console.print(table_of(group.title, group.claim, "CPU ns", rows))


if __name__ == "__main__":
    main()
