"""The source of a contract's Protobuf class."""

import base64

from sluice.authoring.new_topic.description import ProtobufClass

_CHUNK = 92
"""Characters of base64 per line."""


def used_names(protobuf: ProtobufClass) -> set[str]:
    """The names that the source imports."""
    if protobuf.module:
        return {protobuf.name.partition(".")[0]}
    return {"b64decode", "descriptor_pb2", "message_factory"}


def descriptor_lines(protobuf: ProtobufClass) -> list[str]:
    """The constant with the registry's descriptors; nothing for a generated class."""
    if protobuf.module:
        return []
    text = base64.b64encode(protobuf.descriptors).decode()
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    return [
        "",
        "# review: made from the schema registry; replace it by the class that protoc generates",
        "_DESCRIPTORS = descriptor_pb2.FileDescriptorSet.FromString(",
        "    b64decode(",
        *(f'        "{chunk}"' for chunk in chunks),
        "    )",
        ")",
    ]


def expression(protobuf: ProtobufClass) -> str:
    """The expression of the class."""
    if protobuf.module:
        return protobuf.name
    outer, *nested = protobuf.path
    made = f"message_factory.GetMessages(_DESCRIPTORS.file)[{outer!r}]"
    if not nested:
        return made
    steps = "".join(f".nested_types_by_name[{name!r}]" for name in nested)
    return f"message_factory.GetMessageClass({made}.DESCRIPTOR{steps})"
