"""How the cluster is looked at: past its links, soon after a process is back, and never for long."""

LOOK_SECONDS = 1.0
"""Time for a process to answer a question about itself."""
CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 200),
]
"""For gRPC channels: dial again at once, since whoever is away is back soon."""
