"""Tests of the Python client, without a lock server."""
