"""Any message of a type, made from its descriptor: every field may be there or not, and hold anything it can hold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from hypothesis import strategies as st

from lockstream.v1 import errors_pb2

M = TypeVar("M", bound=Message)

Hints = Mapping[str, st.SearchStrategy[Any]]
"""What a field is likelier to hold than anything, by its name or its full name; None leaves it unset.

Of a oneof, by its full name: which of its fields. Without such hints an acquire would hardly ever be valid, or meet
another one. The hint of a repeated field is for all of it.
"""

MAX_ITEMS = 3
"""Items of a repeated field, at the most."""

INT32 = (0, 1, -1, 2, 2**31 - 1, -(2**31))
INT64 = (*INT32, 2**32, 2**53 + 1, 315_576_000_001, 2**63 - 1, -(2**63))
UINT32 = (0, 1, 2, 1_000_001, 2**31, 2**32 - 1)
UINT64 = (*UINT32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (0.0, -0.0, 1.5, -1.0, 1e308, float("inf"), float("-inf"), float("nan"))

TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "/", "%", "%2F", "..", "\0", " ", "\n", "é", "e\u0301", "\u202e", "🔒", "\ufeff", "\U0010ffff"]
    ),
    st.sampled_from(["n" * 512, "n" * 513, "ü" * 256, "ü" * 257, "k" * 5_000]),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
BYTES = st.one_of(st.binary(max_size=8), st.sampled_from([b"", b"\0", b"\xff" * 4_096, b"\xff" * 4_097]))
DURATIONS = st.builds(
    Duration,
    seconds=st.sampled_from(INT64),
    nanos=st.sampled_from((0, 1, -1, 999_999_999, 1_000_000_000, -(2**31), 2**31 - 1)),
)
TIMESTAMPS = st.builds(Timestamp, seconds=st.sampled_from(INT64), nanos=st.sampled_from(INT32))


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


ERROR_INFOS = st.builds(
    error_details_pb2.ErrorInfo,
    reason=st.sampled_from(["", "NEWER", *errors_pb2.ErrorReason.keys()])
    | st.sampled_from(errors_pb2.ErrorReason.keys()).map(lambda name: name.removeprefix("ERROR_REASON_")),
    domain=st.sampled_from(["lockstream.v1", "lockstream.v1", "", "elsewhere"]),
    metadata=st.dictionaries(
        st.sampled_from(["retryable", "outcome_settled", "limit", "maximum", "current", "cycle"]),
        st.sampled_from(["true", "false", "", "-1", "[", "[1]", '[{"session":1}]', "{}", "nan", "[" * 5_000]),
        max_size=3,
    ),
)
DETAILS = st.one_of(
    ERROR_INFOS.map(_packed),
    # It says that it is an ErrorInfo, and is none.
    st.builds(
        AnyMessage,
        type_url=st.just("type.googleapis.com/google.rpc.ErrorInfo"),
        value=st.binary(min_size=1, max_size=9),
    ),
    st.builds(AnyMessage, type_url=TEXTS, value=BYTES),
)

_WELL_KNOWN: Hints = {
    Duration.DESCRIPTOR.full_name: DURATIONS,
    Timestamp.DESCRIPTOR.full_name: TIMESTAMPS,
    AnyMessage.DESCRIPTOR.full_name: DETAILS,
}


def _enum(field: FieldDescriptor) -> st.SearchStrategy[int]:
    known = [value.number for value in field.enum_type.values] if field.enum_type is not None else [0]
    return st.sampled_from([*known, *known, max(known) + 1, -1, 2**31 - 1])


_SCALARS: Mapping[int, Callable[[FieldDescriptor], st.SearchStrategy[Any]]] = {
    FieldDescriptor.CPPTYPE_INT32: lambda _: st.sampled_from(INT32),
    FieldDescriptor.CPPTYPE_INT64: lambda _: st.sampled_from(INT64),
    FieldDescriptor.CPPTYPE_UINT32: lambda _: st.sampled_from(UINT32),
    FieldDescriptor.CPPTYPE_UINT64: lambda _: st.sampled_from(UINT64),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda _: st.sampled_from(FLOATS),
    FieldDescriptor.CPPTYPE_FLOAT: lambda _: st.sampled_from(FLOATS),
    FieldDescriptor.CPPTYPE_BOOL: lambda _: st.booleans(),
    FieldDescriptor.CPPTYPE_STRING: lambda field: BYTES if field.type == FieldDescriptor.TYPE_BYTES else TEXTS,
    FieldDescriptor.CPPTYPE_ENUM: _enum,
}


def messages(kind: type[M], hints: Hints | None = None) -> st.SearchStrategy[M]:
    """Any message of this class."""
    made: st.SearchStrategy[M] = _Maker(hints or {}).message(kind.DESCRIPTOR)
    return made


@dataclass(frozen=True, slots=True)
class _Field:
    """A field and what it may hold; unless it is `sure` to be filled, it may be left out."""

    name: str
    values: st.SearchStrategy[Any]
    sure: bool


class _Maker:
    """Makes a strategy for each type of message once, since making one takes longer than drawing from it.

    A type is given by its descriptor, of which protobuf has two implementations.
    """

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._messages: dict[str, st.SearchStrategy[Any]] = dict(_WELL_KNOWN)

    def message(self, kind: Any) -> st.SearchStrategy[Any]:
        made = self._messages.get(kind.full_name)
        if made is None:
            made = self._messages[kind.full_name] = st.deferred(lambda: self._message(kind))
        return made

    def _message(self, kind: Any) -> st.SearchStrategy[Any]:
        choices = []
        for oneof in kind.oneofs:
            fields = {field.name: self._field(field) for field in oneof.fields}
            # Unset now and then, but most messages are about what is in their oneof.
            choices.append((self._hints.get(oneof.full_name, st.sampled_from([*fields, *fields, None])), fields))
        free = [self._field(field) for field in kind.fields if field.containing_oneof is None]
        return _filled(GetMessageClass(kind), choices, free)

    def _field(self, field: FieldDescriptor) -> _Field:
        hint = self._hints.get(field.full_name, self._hints.get(field.name))
        return _Field(field.name, self._values(field) if hint is None else hint, sure=hint is not None)

    def _values(self, field: FieldDescriptor) -> st.SearchStrategy[Any]:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            entry = (self._field(kind.fields_by_name[part]).values for part in ("key", "value"))
            return st.dictionaries(*entry, max_size=MAX_ITEMS)
        one = _SCALARS[field.cpp_type](field) if kind is None else self.message(kind)
        return st.lists(one, max_size=MAX_ITEMS) if field.is_repeated else one


@st.composite
def _filled(
    draw: st.DrawFn,
    kind: type[Message],
    oneofs: Sequence[tuple[st.SearchStrategy[str | None], Mapping[str, _Field]]],
    fields: Sequence[_Field],
) -> Message:
    message = kind()
    for choice, among in oneofs:
        name = draw(choice)
        if name is not None:
            _put(message, name, draw(among[name].values))
    for field in fields:
        if field.sure or draw(_COIN):
            _put(message, field.name, draw(field.values))
    return message


_COIN = st.booleans()


def _put(message: Any, name: str, value: Any) -> None:
    """Give a field something to hold."""
    match value:
        case None:
            pass
        case Message():
            getattr(message, name).CopyFrom(value)
            getattr(message, name).SetInParent()
        case list():
            getattr(message, name).extend(value)
        case dict():
            for key, each in value.items():
                if isinstance(each, Message):
                    getattr(message, name)[key].CopyFrom(each)
                else:
                    getattr(message, name)[key] = each
        case _:
            setattr(message, name, value)
