"""A real server on a real etcd, and clients of it who have nothing to do with what is sent to it."""

import asyncio
import subprocess
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import grpc
from etcd3 import etcdrpc

import lockstream.sync
from lockstream_server.sessions.record_leases import LEASE_SECONDS
from lockstream_server.store.keys import range_end
from tests.support.etcd import EtcdProcess
from tests.support.processes import wait_until
from tests.support.server import ServerProcess

T = TypeVar("T")

PREFIX = "/fuzzing/"
"""Of its own, so that whatever is left over is ours."""
PROMPT = 5.0
"""Seconds within which anything is answered, also on a busy machine."""
TTL = 30.0
"""Seconds that the bystanders' sessions outlive a server, which may take long to start on a busy machine."""
GONE = 15.0
"""Seconds within which everything that sessions left behind has ended: a TTL, a lock delay, and etcd's second."""


class Site:
    """The server, and a loop for those who send to it."""

    def __init__(self, etcd: EtcdProcess, stack: ExitStack) -> None:
        self.etcd = etcd
        self.server = stack.enter_context(ServerProcess(etcd.endpoint, extra_args=[f"--etcd-prefix={PREFIX}"]))
        self._runner = stack.enter_context(asyncio.Runner())
        channel = stack.enter_context(grpc.insecure_channel(etcd.endpoint))
        self._kv: Any = etcdrpc.KVStub(channel)
        self._lease: Any = etcdrpc.LeaseStub(channel)
        self._log_read = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, always on the same loop."""
        return self._runner.run(work)

    def put(self, key: bytes, value: bytes) -> None:
        """Write a key into etcd, past the server."""
        self._kv.Put(etcdrpc.PutRequest(key=key, value=value))

    def delete(self, key: bytes, end: bytes = b"") -> None:
        """Delete a key of etcd, or all up to `end`."""
        self._kv.DeleteRange(etcdrpc.DeleteRangeRequest(key=key, range_end=end))

    def keys(self) -> dict[bytes, int]:
        """All that there are under the prefix, with their leases, but for the fence."""
        start = PREFIX.encode()
        everything = self._kv.Range(etcdrpc.RangeRequest(key=start, range_end=range_end(start), keys_only=True))
        return {pair.key: pair.lease for pair in everything.kvs if not pair.key.endswith(b"/fence")}

    def leases(self) -> set[int]:
        """All leases of etcd, but for those of the records of evictions."""
        every = {int(line, 16) for line in self.etcd.etcdctl("lease", "list").split("\n")[1:] if line}
        return {lease for lease in every if self._granted_seconds(lease) != LEASE_SECONDS}

    def _granted_seconds(self, lease: int) -> int:
        return int(self._lease.LeaseTimeToLive(etcdrpc.LeaseTimeToLiveRequest(ID=lease)).grantedTTL)

    def check_log(self) -> None:
        """The server runs, and has logged no exception since this was asked last."""
        with self.server.process.log.open("rb") as log:
            log.seek(self._log_read)
            news = log.read()
            self._log_read = log.tell()
        assert b"Traceback" not in news, news.decode()
        assert b"unexpectedly" not in news, news.decode()
        assert self.server.process.running, "the server ended"


class Bystanders:
    """Somebody who holds a lock, and somebody who waits for it: neither is to notice anything."""

    NAME = "bystanders' own"

    def __init__(self, client: lockstream.sync.Client, stack: ExitStack) -> None:
        self._client = client
        self._generation = 1
        threads = stack.enter_context(ThreadPoolExecutor())  # left last: the end of a session ends its wait
        self.holder = stack.enter_context(client.session(name="holder", ttl=TTL))
        self._waiter = stack.enter_context(client.session(name="waiter", ttl=TTL))
        self._lock = self.holder.acquire(self.NAME)
        self._waiting: Future[lockstream.sync.Lock] = threads.submit(self._waiter.acquire, self.NAME)
        wait_until(lambda: len(client.get_lock(self.NAME).waiters) == 1, timeout=PROMPT, what="the bystander waits")

    def resumed(self) -> None:
        """The server was started anew: wait until both have come back to it."""
        self._generation += 1

        def back() -> bool:
            sessions = (self._client.get_session(each.id) for each in (self.holder, self._waiter))
            return all(session.generation == self._generation for session in sessions)

        wait_until(back, timeout=PROMPT, what="the bystanders come back")

    def check(self) -> None:
        """Everything is as it was, and what is free is granted at once."""
        assert self._lock.held
        assert not self._waiting.done()
        assert self._client.check_token(self.NAME, self._lock.token)
        for session in (self.holder, self._waiter):
            assert self._client.get_session(session.id).generation == self._generation, "its stream was broken"
        with self.holder.lock(f"{self.NAME}, free", wait=PROMPT):
            pass

    def leave(self) -> None:
        """The holder gives its lock up: the waiter has it."""
        self._lock.release()
        self._waiting.result(PROMPT).release()


@contextmanager
def bystanders(site: Site) -> Iterator[Bystanders]:
    """They come, and go; afterwards nothing is left of anybody who was there meanwhile."""
    site.check_log()
    before = site.leases()
    with ExitStack() as stack:
        client = stack.enter_context(lockstream.sync.connect(site.server.target))
        those = Bystanders(client, stack)
        yield those
        those.check()
        those.leave()
    assert_nothing_left(site, before)
    site.check_log()


def assert_nothing_left(site: Site, leases_before: set[int]) -> None:
    """No key is left but the records of evictions, and no lease but theirs, once all that was lost had its time."""
    records = f"{PREFIX}e/".encode()

    def left() -> tuple[list[bytes], set[int]]:
        keys = site.keys()
        return [key for key in keys if not key.startswith(records)], site.leases() - leases_before

    try:
        wait_until(lambda: left() == ([], set()), timeout=GONE, what="everything gone")
    except TimeoutError:
        keys, leases = left()
        raise AssertionError(f"left over: {keys}, leases {[f'{lease:x}' for lease in leases]}") from None
    except subprocess.CalledProcessError as failed:
        raise AssertionError(failed.stderr) from failed
