"""Default keys, orders and names, and the answers of prompts."""

from typing import Any

import pytest

from sluice.authoring.new_topic.answers import suggested_type, type_of
from sluice.authoring.new_topic.choices import Choices, describe
from sluice.authoring.new_topic.description import (
    Choice,
    DictOf,
    Draft,
    Field,
    ListOf,
    Object,
    Scalar,
    Type,
)
from sluice.authoring.new_topic.naming import attributes, class_name, module_name, singular, snake
from sluice.errors import ContractError
from tests.new_topics import (
    TODAY,
    Written,
    source,
)


def message_of(**fields: str) -> Draft:
    """Fields by type; a question mark makes a field nullable."""
    return Draft(
        message=Object(
            "things",
            tuple(
                Field(key=key, type=Scalar(text.rstrip("?")), nullable=text.endswith("?"))
                for key, text in fields.items()
            ),
        )
    )


@pytest.mark.parametrize(
    ("topic", "fields", "key", "order"),
    [
        ("orders", {"name": "str", "order_id": "int", "id": "str"}, "id", ("id",)),
        ("orders", {"user_id": "str", "order_id": "int"}, "order_id", ("order_id",)),
        ("shop.orders.v2", {"user_id": "str", "orderId": "str"}, "orderId", ("orderId",)),
        ("companies", {"x_id": "str", "company_id": "str"}, "company_id", ("company_id",)),
        ("orders", {"n": "int", "at": "datetime", "user_id": "int"}, "user_id", ("at", "user_id")),
        ("orders", {"n": "int", "name": "str", "at": "datetime?"}, "name", ("name",)),
        ("orders", {"id": "str?", "name": "str"}, "name", ("name",)),
        ("orders", {"id": "str", "a": "datetime?", "b": "datetime"}, "id", ("b", "id")),
        ("orders", {"my-id": "str"}, "my_id", ("`my-id`",)),
    ],
)
def test_default_key_and_order(
    topic: str, fields: dict[str, str], key: str, order: tuple[str, ...], written: Written
) -> None:
    contract = written(message_of(**fields), topic)
    assert (contract.key, contract.table.order_by) == (key, order)


def test_a_low_cardinality_string_is_not_the_default_key_if_there_is_another() -> None:
    few = Scalar("str", low_cardinality=True)
    fields = (Field(key="kind", type=few), Field(key="name", type=Scalar("str")))
    assert describe("x", Draft(message=Object("x", fields)), Choices(), TODAY).key == "name"


@pytest.mark.parametrize(
    ("fields", "choices", "field", "remedy"),
    [
        ({"id": "str?"}, {}, "", r"\('id' may be null or missing\).* --key"),
        ({"n": "float"}, {}, "", "--key"),
        ({"id": "str?", "n": "int"}, {"key": "id"}, "", "'id' may be null .* --order-by _offset"),
        ({"id": "str"}, {"key": "nope"}, "nope", r"--key .*\('id'\)"),
        ({"id": "str", 'a"b': "int"}, {}, 'a"b', "msgspec allows no quotes"),
        ({"id": "str", "": "int"}, {}, "", "empty name"),
        ({"id": "str", "{a:b}": "int"}, {}, "{a:b}", "query parameter"),
    ],
)
def test_an_impossible_choice_is_refused_with_a_remedy(
    fields: dict[str, str], choices: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(ContractError, match=remedy) as caught:
        source(message_of(**fields), **choices)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (("at", "id"), ("at", "id")),
        (("at, id",), ("at", "id")),
        (("class_",), ("class",)),
        (("toDate(at), cityHash64(id, at)",), ("toDate(at)", "cityHash64(id, at)")),
        (("_partition", "_offset"), ("_partition", "_offset")),
    ],
)
def test_chosen_orders(
    order_by: tuple[str, ...], expected: tuple[str, ...], written: Written
) -> None:
    found = message_of(id="str", at="datetime", **{"class": "str"})
    assert written(found, order_by=order_by).table.order_by == expected


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["id", "_id"], ["id", "id_2"]),
        (["_id", "__id"], ["id", "id_2"]),
        (["class", "class_"], ["class_2", "class_"]),
        (["order-id", "order id", "order.id"], ["order_id", "order_id_2", "order_id_3"]),
        (["1st", "größe", "订单", "l"], ["n1st", "gro_e", "field_", "l_"]),
        (["date", "ThingMessage"], ["date_", "ThingMessage_"]),
        (["a" * 60], ["a" * 44]),
    ],
)
def test_attribute_names(keys: list[str], names: list[str]) -> None:
    assert list(attributes(keys).values()) == names


@pytest.mark.parametrize(
    ("topic", "module", "message"),
    [
        ("things", "things", "ThingsMessage"),
        ("Order-Events.v1", "order_events_v1", "OrderEventsV1Message"),
        ("1st", "topic_1st", "Part1stMessage"),
        ("class", "class_", "ClassMessage"),
        ("_x_", "x", "XMessage"),
    ],
)
def test_module_and_class_names(topic: str, module: str, message: str) -> None:
    assert (module_name(topic), class_name(topic)) == (module, message)


@pytest.mark.parametrize("topic", ["", "a b", "../x", "...", "ä"])
def test_a_name_that_kafka_does_not_allow_is_refused(topic: str) -> None:
    with pytest.raises(ContractError) as caught:
        module_name(topic)
    assert caught.value.topic == topic


def test_names_become_snake_case() -> None:
    names = [snake(name) for name in ("orderId", "HTTPServer", "a-b c")]
    assert names == ["order_id", "http_server", "a_b_c"]


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        ("orders", "order"),
        ("companies", "company"),
        ("addresses", "address"),
        ("boxes", "box"),
        ("news_items", "news_item"),
        ("status", "status"),
    ],
)
def test_singulars(plural: str, expected: str) -> None:
    assert singular(plural) == expected


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        ("int", Scalar("int")),
        (" list[ dict[str, UUID] ] ", ListOf(DictOf(Scalar("UUID")))),
        ("red | blue", Choice(("red", "blue"))),
    ],
)
def test_answers_are_parsed_as_types(answer: str, type_: Type) -> None:
    assert type_of(answer) == type_


@pytest.mark.parametrize("answer", ["integer", "list[]", "dict[int, str]", "a |", ""])
def test_an_invalid_answer_lists_the_types(answer: str) -> None:
    with pytest.raises(ContractError, match="is not a type; the types are str, int"):
        type_of(answer)


def test_names_suggest_types() -> None:
    names = ("order_id", "created_at", "value_date", "is_paid", "quantity", "price", "tags", "note")
    assert [suggested_type(name) for name in names] == [
        "str", "datetime", "date", "bool", "int", "float", "list[str]", "str"
    ]  # fmt: skip
