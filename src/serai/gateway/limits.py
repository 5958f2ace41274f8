"""How much the gateway accepts and how long it waits."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the data plane; times in seconds, sizes in bytes.

    Attributes:
        url_bytes: longest request target; longer ones get 414.
        header_bytes: all header names and values of a request together; more gets 431.
        header_count: most header lines of a request; more gets 431.
        header_timeout: from a request's first byte (or the connection's start) to the end of
            its headers.
        keep_alive: how long an idle client connection stays open.
        model_body_bytes: largest request body of a model call; larger ones get 413.
        model_body_timeout: longest pause while a model call's body arrives.
        connect_timeout: for a connection to an upstream, TLS included.
        model_cache_bytes: all answers together that models with a cache keep.
        model_response_timeout: from the sent request to the model's response headers.
        upstream_idle: how long an idle upstream connection is kept for reuse.
        upstream_idle_unsafe: the same for requests that must not be sent twice (POST): a
            connection that the server may be closing this moment is no place for them.
        upstream_head_bytes: largest head of an upstream's answer; sandboxes are not trusted.
        upstream_idle_count: idle upstream connections kept per address.
        discard_bytes: request body thrown away after an early answer before closing.
        discard_timeout: the same in time.
        pipeline_depth: requests of one connection that may wait behind the current one.
        send_timeout: how long a client may leave what we sent unread before it is cut off.
        tick: resolution of all timeouts.
        hosted_wake: how long a request waits for an instance of its workload to serve.
        hosted_silence: how long nothing may flow between a client and a workload, either way.
        hosted_total: how long a request of a workload may last in all.
        hosted_async_bytes: largest body of an asynchronous call; larger ones get 413.
    """

    url_bytes: int = 16 * 1024
    header_bytes: int = 64 * 1024
    header_count: int = 128
    header_timeout: float = 30.0
    keep_alive: float = 75.0
    model_body_bytes: int = 20 * 1024 * 1024
    model_body_timeout: float = 60.0
    connect_timeout: float = 10.0
    model_cache_bytes: int = 64 * 1024 * 1024
    model_response_timeout: float = 600.0
    upstream_idle: float = 50.0
    upstream_idle_unsafe: float = 4.0
    upstream_head_bytes: int = 256 * 1024
    upstream_idle_count: int = 128
    discard_bytes: int = 64 * 1024 * 1024
    discard_timeout: float = 5.0
    pipeline_depth: int = 256
    send_timeout: float = 300.0
    tick: float = 1.0
    hosted_wake: float = 90.0
    hosted_silence: float = 100.0
    hosted_total: float = 900.0
    hosted_async_bytes: int = 6 * 1024 * 1024
