"""What only a store over a network has to survive."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import trustme

from lockstream_server.core.errors import LockError, Reason
from lockstream_server.store.port import CreateSession, Outcome, Verdict
from tests.contract.conftest import etcd_store, followed, new_prefix
from tests.support.etcd import EtcdCertificate, EtcdProcess
from tests.support.history import RECORD
from tests.support.processes import LOOPBACK, free_port
from tests.support.stores import PATIENCE, delete, key

T = TypeVar("T")

TIMEOUT = 0.3
"""Seconds that one attempt may take in these tests."""


@pytest.fixture(scope="module")
def fragile() -> Iterator[EtcdProcess]:
    """An etcd to freeze, kill and restart."""
    with EtcdProcess() as etcd:
        yield etcd


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that accepts connections and never says a word."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield f"{LOOPBACK}:{server.getsockname()[1]}"


def unanswered() -> str:
    """An address at which nothing listens."""
    return f"{LOOPBACK}:{free_port()}"


async def eventually(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until etcd is back."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await attempt()
            except LockError as error:
                if error.reason is not Reason.STORE_UNAVAILABLE:
                    raise


# The feed.


async def test_the_feed_goes_on_after_a_restart(fragile: EtcdProcess) -> None:
    async with followed(etcd_store(fragile)) as subject:
        session = await subject.session()
        [held] = await subject.propose(subject.put(session, "a"))
        fragile.restart()
        outcomes = await subject.propose(subject.put(session, "b"), delete(session, "a", token=held.revision))
        await subject.follower.until(lambda: subject.follower.revision >= max(each.revision for each in outcomes))
        assert list(subject.follower.table.locks) == ["b"]
        assert len(subject.follower.snapshots) == 1, "nothing was lost, so nothing is read anew"


async def test_the_feed_brings_what_happened_while_it_was_broken(fragile: EtcdProcess) -> None:
    prefix = new_prefix()
    async with followed(etcd_store(fragile, prefix=prefix)) as subject, followed(etcd_store(fragile)) as other:
        fragile.restart()  # nobody here runs until all of this has happened
        for number in range(5):
            fragile.etcdctl("put", f"{prefix}l/a/{number}", "")
        fragile.etcdctl("del", f"{prefix}l/a/3")
        await subject.follower.until(lambda: len(subject.follower.revisions) == 6)
        assert [entry.key for entry in subject.follower.table.locks["a"].entries] == ["0", "1", "2", "4"]
        assert len(subject.follower.snapshots) == 1
        assert not other.follower.revisions, "another prefix is another world"


async def test_a_compacted_history_is_read_anew(fragile: EtcdProcess) -> None:
    prefix = new_prefix()
    async with followed(etcd_store(fragile, prefix=prefix)) as subject:
        session = await subject.session()
        await subject.propose(subject.put(session, "gone"), subject.put(session, "kept"))
        await subject.follower.until(lambda: len(subject.follower.table.locks) == 2)
        fragile.restart()
        fragile.etcdctl("del", f"{prefix}l/gone/{key(session)}")
        fragile.etcdctl("put", f"{prefix}l/kept/694d", "")
        fragile.etcdctl("put", f"{prefix}l/new/694d", "")
        fragile.etcdctl("compact", str(revision_of(fragile)))
        await subject.follower.until(lambda: len(subject.follower.snapshots) == 2)
        queues = {name: [each.key for each in queue.entries] for name, queue in subject.follower.table.locks.items()}
        assert queues == {"kept": [key(session), "694d"], "new": ["694d"]}
        assert subject.follower.table.locks["kept"].entries[0].granted
        token = subject.follower.table.locks["kept"].entries[0].token
        [outcome] = await subject.propose(delete(session, "kept", token=token))
        await subject.follower.until(lambda: subject.follower.revision >= outcome.revision)
        assert [each.granted for each in subject.follower.table.locks["kept"].entries] == [True]


async def test_damaged_and_foreign_keys_exclude_and_harm_nobody(etcd: EtcdProcess) -> None:
    prefix = new_prefix()
    async with followed(etcd_store(etcd, prefix=prefix)) as subject:
        for name, last, value in [
            ("damaged", "0000000000001234.1", "garbage"),
            ("nested", "0000000000001234.1", "[" * 5_000),
            ("foreign", "694d", "somebody"),
            ("bare", "", "somebody"),
        ]:
            etcd.etcdctl("put", f"{prefix}l/{name}/{last}", stdin=value)
        etcd.etcdctl("put", f"{prefix}s/0000000000001234", "garbage")
        etcd.etcdctl("put", f"{prefix}elsewhere", "somebody")
        session = await subject.session()
        names = ["damaged", "nested", "foreign", "bare"]
        outcomes = await subject.propose(*(subject.put(session, name) for name in names))
        assert {outcome.verdict for outcome in outcomes} == {Verdict.QUEUED}
        await subject.follower.until(
            lambda: [len(queue.entries) for queue in subject.follower.table.locks.values()] == [2] * 4
        )
        etcd.etcdctl("del", f"{prefix}l/", f"{prefix}l/foreign/7")
        await subject.follower.until(lambda: "bare" not in subject.follower.table.locks)


def revision_of(etcd: EtcdProcess) -> int:
    """The newest revision of etcd."""
    [line] = [line for line in etcd.etcdctl("get", "x", "-w", "fields").splitlines() if line.startswith('"Revision"')]
    return int(line.split(":")[1])


# Outcomes.


async def test_the_outcome_is_known_after_a_pause_and_nothing_is_doubled(fragile: EtcdProcess) -> None:
    async with followed(etcd_store(fragile, request_timeout=TIMEOUT)) as subject:
        session = await subject.session()
        fragile.freeze()
        try:
            answers = subject.send(subject.put(session, "a"), subject.put(session, "b"))
            done, _ = await asyncio.wait(answers, timeout=4 * TIMEOUT)  # several attempts, all of them lost
            assert not done
        finally:
            fragile.thaw()
        async with asyncio.timeout(PATIENCE):
            outcomes: list[Outcome] = list(await asyncio.gather(*answers))
        for name, outcome in zip("ab", outcomes, strict=True):
            assert outcome.verdict in (Verdict.GRANTED, Verdict.EXISTS)
            [entry] = (await eventually(lambda name=name: subject.store.read_lock(name))).entries  # type: ignore[misc]
            assert entry.token == outcome.revision
            await subject.follower.until(lambda name=name: name in subject.follower.table.locks)  # type: ignore[misc]


async def test_a_proposal_of_an_ended_session_is_given_up(fragile: EtcdProcess) -> None:
    async with followed(etcd_store(fragile, request_timeout=TIMEOUT)) as subject:
        session = await subject.session()
        fragile.freeze()
        try:
            answers = subject.send(subject.put(session, "a"), delete(session, "b", token=1))
            session.live = False
            async with asyncio.timeout(PATIENCE):
                outcomes = await asyncio.gather(*answers)
        finally:
            fragile.thaw()
        assert {outcome.verdict for outcome in outcomes} == {Verdict.UNKNOWN}


async def test_renewals_are_answered_after_a_pause(fragile: EtcdProcess) -> None:
    async with followed(etcd_store(fragile, request_timeout=TIMEOUT)) as subject:
        lease = await subject.store.grant_lease(60)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        fragile.freeze()
        try:
            subject.store.renew_lease(lease.session, answer.set_result)
            await asyncio.wait([answer], timeout=4 * TIMEOUT)
            assert not answer.done()
        finally:
            fragile.thaw()
        async with asyncio.timeout(PATIENCE):
            assert await answer


async def test_a_batch_too_large_for_etcd_goes_in_parts(etcd: EtcdProcess) -> None:
    """Each record is within etcd's limit of a request, all together are far beyond it."""
    async with followed(etcd_store(etcd)) as subject:
        record = RECORD._replace(metadata={"much": "x" * 100_000})
        leases = [await subject.store.grant_lease(60) for _ in range(40)]
        outcomes = await subject.propose(*(CreateSession(lease.session, record) for lease in leases))
        assert {outcome.verdict for outcome in outcomes} == {Verdict.WRITTEN}


# Reaching it.


@pytest.mark.parametrize("silence", [False, True], ids=["refused", "silent"])
async def test_an_etcd_out_of_reach_is_an_error_within_the_dial_timeout(
    etcd: EtcdProcess, silent: str, silence: bool
) -> None:
    endpoint = silent if silence else unanswered()
    store = etcd_store(etcd, endpoints=[endpoint], dial_timeout=0.5, request_timeout=TIMEOUT)
    try:
        for attempt in (store.grant_lease(60), store.read_session(1), store.read_lock("a"), store.revoke_lease(1)):
            begun = asyncio.get_running_loop().time()
            with pytest.raises(LockError) as refusal:
                await attempt
            assert refusal.value.reason is Reason.STORE_UNAVAILABLE
            assert asyncio.get_running_loop().time() - begun < 1.5
        assert store.lag == float("inf")
    finally:
        await store.close()


@pytest.mark.parametrize("silence", [False, True], ids=["refused", "silent"])
async def test_the_next_endpoint_is_tried(etcd: EtcdProcess, silent: str, silence: bool) -> None:
    endpoints = [silent if silence else unanswered(), etcd.endpoint]
    async with followed(etcd_store(etcd, endpoints=endpoints, request_timeout=TIMEOUT)) as subject:
        session = await eventually(subject.session)
        [outcome] = await subject.propose(subject.put(session, "a"))
        await subject.follower.until(lambda: subject.follower.revision >= outcome.revision)


async def test_the_current_endpoint_dies(fragile: EtcdProcess, silent: str) -> None:
    """All members but one are away for good; that one comes back."""
    endpoints = [fragile.endpoint, silent, unanswered()]
    async with followed(etcd_store(fragile, endpoints=endpoints, request_timeout=TIMEOUT)) as subject:
        session = await subject.session()
        fragile.kill()
        [answer] = subject.send(subject.put(session, "a"))
        await asyncio.wait([answer], timeout=3 * TIMEOUT)
        fragile.start()
        async with asyncio.timeout(PATIENCE):
            outcome = await answer
        assert outcome.verdict in (Verdict.GRANTED, Verdict.EXISTS)
        await subject.follower.until(lambda: subject.follower.revision >= outcome.revision)


# Being allowed.


async def test_a_user_with_a_password() -> None:
    """Simple tokens are kept in memory: a restart forgets them all, and the store gets itself a new one."""
    with EtcdProcess() as etcd:
        etcd.etcdctl("user", "add", "root:secret")
        etcd.etcdctl("user", "grant-role", "root", "root")
        etcd.etcdctl("auth", "enable")
        async with followed(etcd_store(etcd, user="root", password="secret")) as subject:  # noqa: S106 - of this test
            session = await subject.session()
            assert await subject.verdict(subject.put(session, "a")) is Verdict.GRANTED
            etcd.restart()
            [outcome] = await subject.propose(subject.put(session, "b"))
            assert outcome.verdict in (Verdict.GRANTED, Verdict.EXISTS)
            await subject.follower.until(lambda: subject.follower.revision >= outcome.revision)
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            subject.store.renew_lease(session.session, answer.set_result)
            async with asyncio.timeout(PATIENCE):
                assert await answer
        for password in ("", "wrong"):
            store = etcd_store(etcd, user="root" if password else "", password=password, dial_timeout=1.0)
            try:
                with pytest.raises(LockError) as refusal:
                    await store.read_lock("a")
                assert refusal.value.reason is Reason.STORE_UNAVAILABLE
            finally:
                await store.close()


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert(LOOPBACK)
    files = EtcdCertificate(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "server.key")
    authority.cert_pem.write_to_path(files.authority)
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    with EtcdProcess(certificate=files) as etcd:
        async with followed(etcd_store(etcd, ca=files.authority.read_bytes())) as subject:
            session = await subject.session()
            assert await subject.verdict(subject.put(session, "a")) is Verdict.GRANTED
        stranger = etcd_store(etcd, ca=trustme.CA().cert_pem.bytes(), dial_timeout=0.5)
        plain = etcd_store(etcd, dial_timeout=0.5)
        for store in (stranger, plain):
            try:
                with pytest.raises(LockError) as refusal:
                    await store.grant_lease(60)
                assert refusal.value.reason is Reason.STORE_UNAVAILABLE
            finally:
                await store.close()
