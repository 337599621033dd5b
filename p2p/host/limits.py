"""Every bound of the host in one frozen struct: why this number, and who can fill what it bounds.

A node runs with the defaults. Tests shorten the times; nothing else passes another value.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one host. Times in seconds, sizes in bytes."""

    # Connections. `max_connections` of HostConfig bounds all of them together.
    outbound_reserve: int = 8
    """Slots that inbound connections never take: strangers cannot keep us from dialing peers that we chose."""
    public_ip_connections: int = 4
    """Established inbound connections of one public address (one /64 of IPv6): a few nodes behind one NAT, and
    no crowd of identities from one machine. Loopback and private ranges are bounded by `max_connections` only:
    many local peers share 127.0.0.1."""
    pending_per_ip: int = 16
    """Inbound connections of one address between accept and the end of the handshake. The oldest one is dropped
    for the newest, so silent sockets cannot keep a peer out that does shake hands."""
    pending_total: int = 64
    """The same over all addresses; the oldest of the address that holds most is dropped."""
    public_connect_rate: float = 1.0
    public_connect_burst: int = 20
    """New inbound connections a second of one public address: a handshake costs us 4 ms of CPU, and strangers
    choose how many they begin."""
    private_connect_rate: float = 100.0
    private_connect_burst: int = 500
    """The same for loopback and private ranges, where the peers are the owner's own machines."""
    tracked_addresses: int = 4096
    """Addresses whose connect rate is remembered; the one unheard of longest is forgotten first."""
    handshake_deadline: float = 10.0
    """From accept or TCP connect to a muxed connection: three round trips and two key agreements."""
    dial_deadline: float = 15.0
    """All of connect(): name resolution, TCP and handshake."""
    accept_backlog: int = 128
    """Queue of the kernel for connections not yet accepted."""

    # Liveness.
    keepalive_interval: float = 20.0
    """Silence after which we ping."""
    keepalive_timeout: float = 15.0
    """Silence after our ping, idle or with a full send queue, after which the peer counts as vanished."""
    send_deadline: float = 30.0
    """For the remote's kernel to take one batch of at most 256 KiB; a slower reader is dropped."""
    window_deadline: float = 60.0
    """For the remote to grant send window on one stream; then that stream is reset."""
    close_flush: float = 0.5
    """What is queued may still leave for this long when we close a connection."""
    handler_grace: float = 2.0
    """Handlers of a connection that ended are cancelled when they have not noticed by then."""
    linger: float = 30.0
    """A stream that we closed and the remote did not is reset after this long without traffic."""

    # Streams of one connection.
    inbound_streams: int = 64
    """Open streams that the remote began. A mesh peer needs about 3 per network, gossip, identify and ping."""
    outbound_streams: int = 64
    """Open streams that we began: a bug of ours must fail, not queue for ever."""
    stream_rate: float = 100.0
    stream_burst: int = 256
    """Streams a second that the remote may begin: each costs a negotiation, about 1 ms of CPU."""
    idle_frame_rate: float = 200.0
    idle_frame_burst: int = 2000
    """Frames that carry nothing (pings, empty frames, frames of streams that are gone, refused streams): beyond
    this the connection is closed. The burst covers what is under way when we reset a stream."""
    control_queue: int = 1024
    """Replies queued for a remote that sends but does not read; then the connection is closed."""
    negotiation_deadline: float = 10.0
    """For both sides to agree on the protocol of a stream."""
    negotiation_message: int = 256
    """Longest multistream-select message. Our longest protocol id has 40 bytes; go-libp2p allows 1,024."""
    negotiation_proposals: int = 16
    """Protocols that a remote may propose on one stream before it is reset."""

    # Memory that a remote can fill.
    stream_window_max: int = 2 * 1024 * KIB
    """Unread bytes of one stream. It begins with 256 KiB, which Yamux fixes, and grows to this while our own reader
    keeps up: 40 MB/s at 50 ms round trip. A remote alone cannot make it grow."""
    mplex_stream_unread: int = 1024 * KIB
    """Unread bytes of one mplex stream, which has no window: beyond it, give or take one Noise message of 64 KiB, the
    connection is not read until our reader has caught up. A whole light-client response of 32 updates fits."""
    mplex_patience: float = 5.0
    """For that reader to read anything; then its stream is reset, and the connection read on (go-mplex waits as
    long)."""
    unread_per_connection: int = 8 * 1024 * KIB
    """Unread bytes over all streams of one connection; beyond it the connection is closed."""
    unread_total: int = 32 * 1024 * KIB
    """The same over all connections; beyond it the connection that holds most is closed."""
    send_queue: int = 256 * KIB
    """Bytes of one connection queued for its socket; writers wait for room."""

    # Gossip.
    gossip_message: int = 1024
    """Longest message. A Bitcoin tip takes 116 bytes, an Ethereum light-client announcement fits as well."""
    gossip_rpc: int = 32 * KIB
    """Longest RPC frame: 30 full messages, or the subscriptions of a busy peer with a signed record."""
    gossip_rate: float = 20.0
    gossip_burst: int = 100
    """Messages a second taken from one peer; the rest is dropped unread. Ten networks announce one tip each and
    a peer may replay its window of five seconds."""
    gossip_control: int = 64
    """Message ids, grafts and prunes taken from one RPC; the rest is dropped."""
    gossip_subscriptions: int = 1024
    """Subscriptions looked at in one RPC; the rest is dropped. A beacon node follows some 250 topics."""
    gossip_seen: int = 4096
    """Message ids remembered, so that a message is taken once. Only validated messages enter."""

    # Identify and ping.
    identify_message: int = 8 * KIB
    """Longest identify reply; ours has 500 bytes, a full go-libp2p node's about 2 KB."""
    identify_addrs: int = 16
    """Listen addresses kept of what a peer says."""
    identify_protocols: int = 256
    """Protocols kept of what a peer says it serves; a full beacon node lists about 60."""
    identify_push_rate: float = 0.2
    identify_push_burst: int = 16
    """Updates a second that a peer may push about itself; more are refused."""
    ping_pause: float = 0.05
    """After each reply on a ping stream: bounds what a ping flood costs."""


DEFAULT_LIMITS = Limits()
