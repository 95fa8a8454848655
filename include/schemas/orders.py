"""The contract of topic ``orders``."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Annotated

from msgspec import Meta, Struct

from sluice.contract import Contract, Rule, Table, Version, column


class AddressMessage(Struct, frozen=True, gc=False):
    """The delivery address of an order.

    Attributes:
        street: street and house number.
        city: city or town.
        postal_code: postal code in the format of the country.
        country: country name or ISO 3166 code, as entered by the customer.
    """

    street: str
    city: str
    postal_code: str
    country: Annotated[str, column(low_cardinality=True)]


class LineItemMessage(Struct, frozen=True, gc=False):
    """One product of an order.

    Attributes:
        line_item_id: id of the line, unique within the order.
        product_id: id of the product in the catalogue.
        product_title: title at the time of the order.
        quantity: number of units.
        price: price per unit, in the shop's currency.
        discount: amount deducted from the whole line.
    """

    line_item_id: str
    product_id: str
    product_title: str
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]
    price: Annotated[float, Meta(ge=0)]
    discount: Annotated[float, Meta(ge=0)]


class OrderEventMessage(Struct, frozen=True, gc=False, kw_only=True):
    """An order, published once when a customer places it.

    Purpose:
        Records what was ordered, by whom, and the delivery address. Consumed by analytics (the
        ``orders`` table), fulfilment and the finance reports.

    Characteristics:
        About 600 bytes of JSON. Keyed by order_id, so that the events of one order stay in
        one partition. About 10 to 300 messages per second. Retained for 30 days.

    Version history:
        1.2: 2026-05-04. Adds shipping_address. Backward compatible: yes (filled with an
            unknown address). Forward compatible: yes (older readers ignore it).
            Migration: none. Rollout: consumers first, then producers.
        1.1: 2025-11-10. Adds customer_email. Backward compatible: yes (filled with the
            empty string). Forward compatible: yes. Migration: none. Rollout: consumers
            first, then producers.
        1.0: 2025-03-03. First version: order_id, created_at, customer_name, line_items,
            total_price, notes.

    Compatibility:
        Backward: the current reader reads every version since 1.0.
        Forward: a reader of an older version ignores fields that its version does not have.

    Known issues:
        total_price is a float; sums over many orders are inexact in the last digits.

    Future changes:
        Version 2.0 may replace customer_name with a customer id.

    Related contexts:
        Topic ``payments`` carries the payments of an order, by order_id.

    Attributes:
        order_id: id of the order, assigned by the shop.
        created_at: when the customer placed the order.
        customer_name: name as entered by the customer.
        customer_email: email address for the confirmation; empty in version 1.0.
        shipping_address: delivery address; unknown before version 1.2.
        line_items: the products ordered, at least one.
        total_price: sum of quantity times price, less the discounts.
        notes: free-text note from the customer.
    """

    order_id: Annotated[str, Meta(min_length=1, max_length=64)]
    created_at: datetime
    customer_name: Annotated[str, Meta(min_length=1, max_length=255)]
    customer_email: Annotated[str, Meta(max_length=254)]
    shipping_address: AddressMessage
    line_items: Annotated[list[LineItemMessage], Meta(min_length=1)]
    total_price: Annotated[float, Meta(ge=0)]
    notes: Annotated[str, Meta(max_length=1000)] = ""


UNKNOWN_ADDRESS = AddressMessage(street="", city="", postal_code="", country="unknown")

_NAMES = (
    "Ada Lovelace",
    "Grace Hopper",
    "Søren Kierkegaard",
    "李小龙",
    "Zoë O'Brien",
    "Max Müller",
)
_CITIES = (
    ("Amsterdam", "1012 JS", "NL"),
    ("København", "1050", "DK"),
    ("São Paulo", "01310-100", "BR"),
    ("Boston", "02108", "US"),
)
_PRODUCTS = (
    ("P-100", "Espresso cups, set of four", 24.5),
    ("P-200", "Reading lamp", 59.0),
    ("P-300", "Notebook, dotted", 6.25),
    ("P-400", "Mechanical keyboard", 129.99),
)


class TracedOrderEventMessage(OrderEventMessage, frozen=True, gc=False, kw_only=True):
    """An order that carries its tracing in its body; see ``TracingHelper.add_tracing``.

    Loads store the ids in the columns ``_correlation_id``, ``_trace_id`` and ``_span_id``.

    Attributes:
        correlation_id: UUID shared by a request and everything that results from it.
        trace_id: W3C trace id, 32 hexadecimal digits; empty without a trace.
        span_id: W3C id of the producer's span, 16 hexadecimal digits; empty without a trace.
    """

    correlation_id: str = ""
    trace_id: str = ""
    span_id: str = ""


def sample(random: Random) -> OrderEventMessage:
    """One realistic order of the current version."""
    items = []
    for number in range(1, random.choice((1, 1, 1, 2, 2, 3)) + 1):
        product_id, title, price = random.choice(_PRODUCTS)
        quantity = random.randint(1, 5)
        discount = round(random.choice((0.0, 0.0, 0.1)) * price * quantity, 2)
        items.append(LineItemMessage(f"L{number}", product_id, title, quantity, price, discount))
    name = random.choice(_NAMES)
    city, postal_code, country = random.choice(_CITIES)
    return OrderEventMessage(
        order_id=f"ord-{random.getrandbits(48):012x}",
        created_at=datetime.now(UTC) - timedelta(seconds=random.uniform(0, 3600)),
        customer_name=name,
        customer_email=f"customer{random.randrange(100_000)}@example.com",
        shipping_address=AddressMessage(
            f"Market Street {random.randint(1, 200)}", city, postal_code, country
        ),
        line_items=items,
        total_price=round(sum(i.quantity * i.price - i.discount for i in items), 2),
        notes=random.choice(("", "", "", "Please ring twice.", 'Gift: "for Anna" <3')),
    )


contract = Contract(
    topic="orders",
    subject="order-events-value",
    message=OrderEventMessage,
    versions=(
        Version(name="1.0", released=date(2025, 3, 3)),
        Version(name="1.1", released=date(2025, 11, 10), added={"customer_email": ""}),
        Version(name="1.2", released=date(2026, 5, 4), added={"shipping_address": UNKNOWN_ADDRESS}),
    ),
    key="order_id",
    table=Table(name="orders", order_by=("created_at", "order_id")),
    owner="shop-data",
    schedule="0 * * * *",
    sample=sample,
    rules=(
        Rule(
            name="total_price is the sum of the line items less discounts, within a cent",
            fails_when="abs(total_price - arraySum("
            "i -> i.quantity * i.price - i.discount, line_items)) > 0.01",
        ),
    ),
    fresh_within=timedelta(hours=6),
    sensitive=frozenset({"customer_name", "customer_email", "shipping_address"}),
)
