"""The store on etcd, over `grpc.aio` with the stubs of the `etcd3` package."""

from lockstream_server.store.etcd.client import EtcdOptions
from lockstream_server.store.etcd.store import EtcdStore

__all__ = ["EtcdOptions", "EtcdStore"]
