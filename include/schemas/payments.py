"""The contract of topic ``payments``."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Annotated

from msgspec import Meta, Struct

from sluice.contract import Contract, Table, Version, column


class PaymentMethod(StrEnum):
    """The method of a payment."""

    CARD = "card"
    TRANSFER = "transfer"
    WALLET = "wallet"


class PaymentMessage(Struct, frozen=True, kw_only=True):
    """A payment, published when it is settled.

    Purpose:
        Records how much was paid for which order, and how. Consumed by the finance reports.

    Characteristics:
        About 250 bytes of JSON. Keyed by payment_id. About 10 messages per second. Retained for
        90 days.

    Version history:
        1.0: 2026-02-02. First version.

    Compatibility:
        Backward: there is no older version.
        Forward: a reader ignores fields that its version does not have.

    Known issues:
        None.

    Future changes:
        Refunds may move to their own topic.

    Related contexts:
        Topic ``orders`` carries the order that was paid, by order_id.

    Attributes:
        payment_id: id of the payment, assigned by the payment provider.
        order_id: id of the order that was paid; null for a gift card.
        paid_at: when the provider confirmed the payment.
        value_date: the day on which the amount is credited.
        amount: amount paid, in the currency's main unit, with up to four decimal places.
        currency: ISO 4217 code.
        method: how the customer paid.
        labels: additional values from the provider, by name.
    """

    payment_id: Annotated[str, Meta(min_length=1, max_length=64)]
    order_id: Annotated[str, Meta(max_length=64)] | None
    paid_at: datetime
    value_date: date
    amount: Annotated[Decimal, column("Decimal(18, 4)")]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$"), column(low_cardinality=True)]
    method: PaymentMethod
    labels: dict[str, str] = {}


def sample(random: Random) -> PaymentMessage:
    """One realistic payment."""
    paid_at = datetime.now(UTC) - timedelta(seconds=random.uniform(0, 3600))
    return PaymentMessage(
        payment_id=f"pay-{random.getrandbits(48):012x}",
        order_id=random.choice((None, f"ord-{random.getrandbits(48):012x}")),
        paid_at=paid_at,
        value_date=(paid_at + timedelta(days=1)).date(),
        amount=Decimal(random.randint(100, 500_000)) / 100,
        currency=random.choice(("EUR", "USD", "DKK")),
        method=random.choice(tuple(PaymentMethod)),
        labels={"provider": random.choice(("acme", "zenith")), "risk": str(random.randint(0, 9))},
    )


contract = Contract(
    topic="payments",
    subject="payment-events-value",
    message=PaymentMessage,
    versions=(Version(name="1.0", released=date(2026, 2, 2)),),
    key="payment_id",
    table=Table(name="payments", order_by=("paid_at", "payment_id")),
    owner="finance-data",
    schedule="0 * * * *",
    sample=sample,
    sensitive=frozenset({"order_id"}),
)
