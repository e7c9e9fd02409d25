"""Thousands of sessions on one server: what an outage, a restart and the end of all of them at once do to them."""
