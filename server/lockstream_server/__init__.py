"""The lock server: sessions and locks over gRPC, with etcd as the only source of truth."""
