"""The core: decided without I/O, so tested without it."""
