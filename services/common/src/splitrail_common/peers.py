"""Calls to the platform's other services: channels and the authorization they carry."""

import grpc

_OPTIONS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def channel(address: str) -> grpc.aio.Channel:
    """A plaintext channel to `host:port` that reconnects by itself."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Call metadata that presents a token."""
    return (("authorization", f"Bearer {token}"),)
