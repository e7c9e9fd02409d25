"""Proof under failure: a cluster, traffic, faults, and checks on the history of it all."""
