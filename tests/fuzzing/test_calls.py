"""Every call but the stream, by its descriptor, with any request: a response, or a documented status with a reason."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from lockstream.v1 import admin_pb2, service_pb2
from tests.fuzzing.damage import damaged
from tests.fuzzing.messages import INT32, TEXTS, Hints, messages
from tests.fuzzing.protocol import check_failure
from tests.fuzzing.site import PROMPT, Bystanders, Site, bystanders

SERVICES = [
    service_pb2.DESCRIPTOR.services_by_name["LockService"],
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
]
METHODS = {method.full_name: method for each in SERVICES for method in each.methods if not method.client_streaming}

LOOKED_AT: Hints = {
    "name": st.sampled_from((Bystanders.NAME, "a")) | TEXTS,
    "prefix": st.sampled_from(("", "bystanders")) | TEXTS,
    "session_id": st.sampled_from(("", "0" * 15 + "1", "f" * 16)) | TEXTS,
    "page_size": st.sampled_from((1, *INT32)),
    "client_name": st.sampled_from(("", "holder")) | TEXTS,
    "server": st.just("") | TEXTS,
    "page_token": st.just("") | TEXTS,
}
ACTED_ON: Hints = {"name": st.sampled_from(("a", "b")) | TEXTS, "reason": st.just("fuzz") | TEXTS}
"""No lock and no session of the bystanders: to end theirs would be no mistake of the server's."""


@pytest.fixture(scope="module")
def those(site: Site) -> Iterator[Bystanders]:
    with bystanders(site) as those:
        yield those


def call(site: Site, method: MethodDescriptor, data: bytes) -> Message | None:
    """The response, the first one where there are several; None if the call was refused as documented."""

    async def make() -> Message | None:
        path = f"/{method.containing_service.full_name}/{method.name}"
        async with grpc.aio.insecure_channel(site.server.target) as channel:
            try:
                if method.server_streaming:
                    told: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
                    response = await told(data, timeout=PROMPT).read()
                else:
                    asked: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                    response = await asked(data, timeout=PROMPT)
            except grpc.aio.AioRpcError as failure:
                check_failure(failure)
                return None
            assert isinstance(response, bytes), "it ended without a word"
            return GetMessageClass(method.output_type).FromString(response)

    response = site.run(make())
    site.check_log()
    return response


@pytest.mark.parametrize("name", METHODS)
def test_any_request_is_answered_or_refused_as_documented(site: Site, those: Bystanders, name: str) -> None:
    method = METHODS[name]
    hints = ACTED_ON if method.containing_service.name == "AdminService" else LOOKED_AT
    requests = messages(GetMessageClass(method.input_type), hints)
    answers = set()

    @given(requests)
    def asked(request: Message) -> None:
        answers.add(call(site, method, request.SerializeToString()) is not None)

    asked()
    those.check()
    assert False in answers, "nothing was ever refused"


@pytest.mark.parametrize("name", METHODS)
def test_a_damaged_request_is_answered_or_refused_as_documented(site: Site, those: Bystanders, name: str) -> None:
    method = METHODS[name]
    kind = GetMessageClass(method.input_type)
    hints = ACTED_ON if method.containing_service.name == "AdminService" else LOOKED_AT

    @given(damaged(messages(kind, hints).map(kind.SerializeToString)))
    def asked(data: bytes) -> None:
        try:
            kind.FromString(data)
        except DecodeError:
            assert call(site, method, data) is None
        else:
            call(site, method, data)

    asked()
    those.check()
