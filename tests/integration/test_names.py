"""Lock names: which there are, and that they have nothing to do with each other."""

import pytest

import lockstream
from lockstream.v1 import session_pb2
from tests.support.server import ServerProcess
from tests.support.wire import Wire, acquire, reason

NAMES = (
    *("a", "a/b", "a/b/", "/a", "a/", "/", "//", "a//b"),
    *("%2F", "a%2Fb", "%", "%25", "%2f"),
    *(".", "..", "a.b", "a-b", "a_b", "a~b", "a b", " ", "*", "?", "\\", '"', "\x00", "a\x00", "\n", "\x7f"),
    *("A", "1", "0" * 16, "l/a", "/lockstream/l/a"),
    *("é", "e\N{COMBINING ACUTE ACCENT}", "Straße", "锁", "замок", "🔒", "\U0010ffff"),
    *("n" * 512, "é" * 256, "🔒" * 128),
)
TOO_LONG = ("n" * 513, "é" * 256 + "n")


async def test_names_are_independent(server: ServerProcess) -> None:
    """X12: one session holds them all, another gets none of them, and only what was released is free."""
    async with (
        lockstream.connect(server.target) as client,
        client.session() as holder,
        client.session() as other,
    ):
        locks = {name: await holder.acquire(name, wait=0) for name in NAMES}
        assert len(locks) == len(NAMES)
        for name in NAMES:
            assert await other.try_lock(name) is None
        for name, lock in locks.items():
            await lock.release()
            async with other.lock(name, wait=0) as again:
                assert again.name == name


@pytest.mark.parametrize("bad", ["", *TOO_LONG], ids=["empty", "ascii", "non-ascii"])
async def test_a_name_of_no_or_too_many_bytes_is_refused(server: ServerProcess, name: str, bad: str) -> None:
    """X12: INVALID_ARGUMENT that names the field; the session goes on."""
    async with Wire(server.target) as wire:
        await wire.open()
        error = (await wire.ask(session_pb2.Acquire(acquire_id=1, name=bad))).error
        assert reason(error) == "INVALID_ARGUMENT"
        assert "name" in error.message
        assert (await wire.ask(acquire(1, name))).HasField("granted")


@pytest.mark.parametrize("bad", ["", *TOO_LONG, "\ud800"], ids=["empty", "ascii", "non-ascii", "surrogate"])
async def test_the_client_tells_that_a_name_is_no_name(client: lockstream.Client, name: str, bad: str) -> None:
    """X12: InvalidArgument, and the session goes on."""
    async with client.session() as session:
        with pytest.raises(lockstream.InvalidArgument):
            await session.acquire(bad)
        async with session.lock(name, wait=0) as lock:
            assert lock.held
