"""Where a server listens: Unix sockets, and TCP over TLS with and without certificates of clients."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

import lockstream
from tests.integration.conftest import StartServer
from tests.support.etcd import EtcdProcess
from tests.support.processes import LOOPBACK
from tests.support.server import ServerProcess


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Signs the certificates of a test."""
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Mapping[str, str]:
    """PEM files by name: the authority, another, and certificates with their keys for a server and for a client."""
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "stranger", "cert", "key", "client_cert", "client_key")}
    authority.cert_pem.write_to_path(paths["ca"])
    trustme.CA().cert_pem.write_to_path(paths["stranger"])
    for prefix, identity in (("", LOOPBACK), ("client_", "client.example")):
        issued = authority.issue_cert(identity)
        issued.cert_chain_pems[0].write_to_path(paths[f"{prefix}cert"])
        issued.private_key_pem.write_to_path(paths[f"{prefix}key"])
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture
def tls_server(etcd: EtcdProcess, files: Mapping[str, str]) -> Iterator[ServerProcess]:
    """A server that speaks TLS."""
    yield from listening(etcd, f"--tls-cert={files['cert']}", f"--tls-key={files['key']}")


@pytest.fixture
def mutual_server(etcd: EtcdProcess, files: Mapping[str, str]) -> Iterator[ServerProcess]:
    """A server that speaks TLS with clients it can tell."""
    tls = (f"--tls-cert={files['cert']}", f"--tls-key={files['key']}")
    yield from listening(etcd, *tls, f"--tls-client-ca={files['ca']}")


def listening(etcd: EtcdProcess, *flags: str) -> Iterator[ServerProcess]:
    """A server that listens; its health can be asked for by those it lets in only."""
    server = ServerProcess(etcd.endpoint, extra_args=flags)
    try:
        server.start(serving=False)
        yield server
        server.stop()
        server.assert_no_traceback()
    finally:
        server.close()


async def hold(target: str, name: str, **options: str) -> str:
    """Hold a lock for a moment, and tell which server gave it."""
    async with (
        lockstream.connect(target, **options) as client,  # type: ignore[arg-type]  # all of these are texts
        client.session() as session,
        session.lock(name) as lock,
    ):
        assert lock.token > 0
        return session.server


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
async def test_a_server_listens_on_a_unix_socket_beside_tcp(
    etcd: EtcdProcess, start_server: StartServer, tmp_path: Path, name: str, form: str
) -> None:
    path = tmp_path / "lockstream.sock"
    server = start_server(etcd.endpoint, extra_args=[f"--listen=unix:{path}"])
    assert await hold(form.format(path), name) == server.name
    assert await hold(server.target, name) == server.name
    server.stop()
    assert not path.exists()


async def test_a_server_that_was_killed_listens_on_its_unix_socket_again(
    etcd: EtcdProcess, start_server: StartServer, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "lockstream.sock"
    server = start_server(etcd.endpoint, extra_args=[f"--listen=unix:{path}"])
    server.restart()
    assert await hold(f"unix:{path}", name) == server.name


async def test_a_session_over_tls(tls_server: ServerProcess, files: Mapping[str, str], name: str) -> None:
    assert await hold(f"lockstreams://{tls_server.target}?ca={files['ca']}", name) == tls_server.name


async def test_a_client_refuses_a_server_that_its_authority_did_not_sign(
    tls_server: ServerProcess, files: Mapping[str, str], name: str
) -> None:
    target = f"lockstreams://{tls_server.target}?ca={files['stranger']}&connect_timeout=1s"
    with pytest.raises(lockstream.ServerUnavailable):
        await hold(target, name)


async def test_a_server_with_tls_refuses_a_client_without(tls_server: ServerProcess, name: str) -> None:
    with pytest.raises(lockstream.ServerUnavailable):
        await hold(f"lockstream://{tls_server.target}?connect_timeout=1s", name)


async def test_a_server_that_asks_for_certificates_serves_clients_that_show_one_and_no_others(
    mutual_server: ServerProcess, files: Mapping[str, str], name: str
) -> None:
    target = f"lockstreams://{mutual_server.target}?ca={files['ca']}&connect_timeout=1s"
    with pytest.raises(lockstream.ServerUnavailable):
        await hold(target, name)
    shown = {"cert": files["client_cert"], "key": files["client_key"]}
    assert await hold(target, name, **shown) == mutual_server.name


def test_an_address_that_is_taken_ends_the_server_with_a_sentence(etcd: EtcdProcess) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        address = f"{LOOPBACK}:{taken.getsockname()[1]}"
        server = ServerProcess(etcd.endpoint, extra_args=[f"--listen={address}"])
        try:
            server.process.start()
            assert server.process.wait(timeout=10) == 1
            assert f"cannot listen on {address}" in server.log_text()
            server.assert_no_traceback()
        finally:
            server.close()
