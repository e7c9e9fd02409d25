"""The forms in which addresses are written in settings."""

from urllib.parse import urlsplit


def check_listen_address(text: str) -> None:
    """Raise ValueError unless `text` is `host:port`, `[ipv6]:port` or `unix:/path`."""
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise ValueError(f"expected unix:/absolute/path, got {text!r}")
        return
    _host_and_port(text, smallest_port=0)


def check_endpoint(text: str) -> None:
    """Raise ValueError unless `text` is `host:port`, `http://host:port` or `https://host:port`."""
    scheme, separator, rest = text.rpartition("://")
    if separator and scheme not in {"http", "https"}:
        raise ValueError(f"expected http:// or https://, got {text!r}")
    _host_and_port(rest.removesuffix("/"), smallest_port=1)


def _host_and_port(text: str, smallest_port: int) -> None:
    problem = f"expected host:port or [ipv6]:port, got {text!r}"
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        raise ValueError(problem) from None
    # What is neither host nor port (a path, a user, a query) makes the network location differ.
    if not parts.hostname or port is None or parts.netloc != text or "@" in text:
        raise ValueError(problem)
    if ":" in parts.hostname and not text.startswith("["):
        raise ValueError(problem)
    if port < smallest_port:
        raise ValueError(f"port must be at least {smallest_port}, got {text!r}")
