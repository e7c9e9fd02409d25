"""Stubs of the `lockstream.v1` protos, written by `make generate`."""
