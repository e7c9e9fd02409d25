"""Settings that do not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstream_server.options import options_of

if TYPE_CHECKING:
    from lockstream_server.settings import Settings


def contradictions(settings: Settings) -> list[tuple[bool, str, str]]:
    """What must not be said together: whether it was, the setting to blame, and why."""
    https = {text.startswith("https://") for text in settings.etcd_endpoints}
    passwords = (settings.etcd_password, settings.etcd_password_file)
    external = settings.etcd_endpoints != options_of(type(settings))["etcd_endpoints"].default
    return [
        (settings.tls_cert is None and settings.tls_key is not None, "tls_key", "needs --tls-cert"),
        (settings.tls_cert is not None and settings.tls_key is None, "tls_cert", "needs --tls-key"),
        (settings.tls_client_ca is not None and settings.tls_cert is None, "tls_client_ca", "needs --tls-cert"),
        (len(https) > 1, "etcd_endpoints", "all must be https:// or none"),
        (settings.etcd_cert is None and settings.etcd_key is not None, "etcd_key", "needs --etcd-cert"),
        (settings.etcd_cert is not None and settings.etcd_key is None, "etcd_cert", "needs --etcd-key"),
        (
            settings.etcd_cert is not None and not settings.etcd_tls,
            "etcd_cert",
            "needs https:// endpoints or --etcd-ca",
        ),
        (None not in passwords, "etcd_password_file", "cannot be given together with --etcd-password"),
        (
            settings.etcd_user is not None and passwords == (None, None),
            "etcd_user",
            "needs --etcd-password-file or --etcd-password",
        ),
        (settings.etcd_user is None and settings.etcd_password is not None, "etcd_password", "needs --etcd-user"),
        (
            settings.etcd_user is None and settings.etcd_password_file is not None,
            "etcd_password_file",
            "needs --etcd-user",
        ),
        (settings.min_ttl > settings.max_ttl, "min_ttl", "must not be above --max-ttl"),
        (settings.default_ttl < settings.min_ttl, "default_ttl", "must not be below --min-ttl"),
        (settings.default_ttl > settings.max_ttl, "default_ttl", "must not be above --max-ttl"),
        (
            settings.otel_endpoint is not None and settings.otel_exporter != "otlp",
            "otel_endpoint",
            "needs --otel-exporter=otlp",
        ),
        (settings.dev and external, "etcd_endpoints", "cannot be given together with --dev"),
        (settings.dev and settings.etcd_tls, "etcd_ca", "cannot be given together with --dev"),
        (settings.dev and settings.etcd_user is not None, "etcd_user", "cannot be given together with --dev"),
        (settings.data_dir is not None and not settings.dev, "data_dir", "needs --dev"),
        (settings.etcd_binary is not None and not settings.dev, "etcd_binary", "needs --dev"),
    ]
