"""Every store, each test with keys of its own."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lockstream_server.store.etcd import EtcdOptions, EtcdStore
from lockstream_server.store.memory import MemoryStore
from tests.support.etcd import EtcdProcess
from tests.support.stores import Subject


@asynccontextmanager
async def followed(store: MemoryStore | EtcdStore) -> AsyncIterator[Subject]:
    subject = Subject(store)
    try:
        yield await subject.begun()
    finally:
        await subject.stop()
        await store.close()


def new_prefix() -> str:
    """A place in etcd of one test's own."""
    return f"/test-{uuid.uuid4().hex}/"


def etcd_store(etcd: EtcdProcess, **options: object) -> EtcdStore:
    return EtcdStore(EtcdOptions(**{"endpoints": [etcd.endpoint], "prefix": new_prefix(), **options}))  # type: ignore[arg-type] # the tests' own words


@pytest.fixture(params=["memory", "etcd"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each store in turn, followed from an empty beginning."""
    store = MemoryStore() if request.param == "memory" else etcd_store(request.getfixturevalue("etcd"))
    async with followed(store) as subject:
        yield subject
