"""A cluster to break: etcd members and lock servers as processes, and every connection between them in our hands."""

from tests.robustness.cluster.cluster import Cluster
from tests.robustness.cluster.member import Member
from tests.robustness.cluster.network import Network
from tests.robustness.cluster.node import Node
from tests.robustness.cluster.programs import EtcdProgram, all_etcds, newest_etcd
from tests.robustness.cluster.server import LockServer

__all__ = ["Cluster", "EtcdProgram", "LockServer", "Member", "Network", "Node", "all_etcds", "newest_etcd"]
