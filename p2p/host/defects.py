"""What is wrong in libp2p 0.8.1, line by line: the evidence behind each fence. Data only; a test holds every row
against the installed library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defect:
    """One place in the library that is wrong."""

    where: str
    """File in the libp2p package, and line."""
    code: str
    """What stands there."""
    what: str
    """What follows from it."""


_YAMUX = "stream_muxer/yamux/yamux.py"
_MPLEX = "stream_muxer/mplex/mplex.py"
_CONN = "network/connection/swarm_connection.py"

DEFECTS: dict[str, tuple[Defect, ...]] = {
    "task-firewall": (
        Defect(
            "tools/anyio_service/trio_manager.py:385",
            "self.cancel()",
            "any exception of any task ends all connections, or all of gossip, and is then raised out of the service",
        ),
        Defect(
            "tools/anyio_service/trio_manager.py:285",
            "for task in FunctionTask.iterate_tasks(*self._root_tasks):",
            "each new task looks through all tasks for its parent",
        ),
    ),
    "stream-firewall": (
        Defect(
            _CONN + ":309",
            "await self.swarm.common_stream_handler(net_stream)",
            "what a stream handler raises ends the task of the connection",
        ),
    ),
    "noise-only": (
        Defect(
            "__init__.py:662",
            "TProtocol(PLAINTEXT_PROTOCOL_ID): InsecureTransport(",
            "a listener accepts plaintext by default, which proves no identity",
        ),
    ),
    "negotiation": (
        Defect(
            "protocol_muxer/multiselect_communicator.py:58",
            "return data.decode()",
            "three bytes that are not UTF-8, as a protocol id, raise outside any try",
        ),
        Defect(
            "utils/varint.py:155",
            "data = await read_exactly(reader, len_msg)",
            "a protocol id may have any length: 100 MB are buffered for one",
        ),
        Defect(
            "protocol_muxer/multiselect.py:83",
            "while True:",
            "proposals and `ls` are answered until the deadline, as fast as they come",
        ),
        Defect(
            "io/utils.py:8",
            "DEFAULT_RETRY_READ_COUNT = 100",
            "a read in more than 101 pieces fails, however much still comes",
        ),
        Defect(
            "protocol_muxer/multiselect_client.py:130",
            "await self.handshake(communicator)",
            "a round trip passes before the proposal; here it goes with the greeting",
        ),
    ),
    "yamux": (
        Defect(
            _YAMUX + ":1544",
            "if self.streams[stream_id].recv_window < 0:",
            "a remote that exceeds the receive window is logged, and its data stored",
        ),
        Defect(_YAMUX + ":1292", "if stream_id not in self.streams:", "a remote may open any number of streams"),
        Defect(
            _YAMUX + ":719",
            "with trio.move_on_after(10.0):",
            "whether the ping was answered is not looked at: a vanished remote is never noticed",
        ),
        Defect(
            _YAMUX + ":794",
            "await self._write_frame(header)",
            "close waits, holding streams_lock, behind a writer that may be blocked for ever",
        ),
        Defect(
            _YAMUX + ":1487",
            "await self._write_frame(ping_header)",
            "the read loop itself answers: a remote that sends and does not read stops it for ever",
        ),
        Defect(
            _YAMUX + ":280",
            "with trio.move_on_after(5.0) as cancel_scope:",
            "a writer without window polls every 10 ms, and fails after 5 s: a reader that pauses kills its writer",
        ),
        Defect(
            _YAMUX + ":880",
            "await self.stream_backlog_semaphore.acquire()",
            "opening the 257th stream waits without end",
        ),
        Defect(
            _YAMUX + ":581",
            "await self._auto_tune_and_send_window_update(bytes_read=len(data))",
            "nearly every read sends a window update",
        ),
        Defect(_YAMUX + ":1116", "del buffer[:n]", "each partial read copies the rest of the buffer"),
        Defect(
            _YAMUX + ":150",
            "MAX_MESSAGE_SIZE = 64 * 1024",
            "a frame and its header are one byte more than a Noise message holds: two messages, two system calls",
        ),
        Defect(
            "io/trio.py:34",
            "await self.stream.send_all(data)",
            "a writer cancelled here leaves half a message on the wire; the remote can decrypt nothing after it",
        ),
        Defect(
            "security/secure_session.py:95",
            "async def read(self, n: int | None = None) -> bytes:",
            "each read passes through five coroutines to the socket, for two bytes of length at a time",
        ),
        Defect(
            "stream_muxer/muxer_multistream.py:143",
            "yamux_conn = Yamux(",
            "the class is named here: another one given as muxer_opt is ignored",
        ),
    ),
    "mplex": (
        Defect(
            _MPLEX + ":348",
            "mplex_stream = await self._initialize_stream(stream_id, message.decode())",
            "a stream name that is not UTF-8 raises out of the read loop, and all connections end",
        ),
        Defect(_MPLEX + ":194", "self.streams[stream_id] = stream", "a remote may open any number of streams"),
        Defect(
            _MPLEX + ":385",
            "await send_channel.send(chunk)",
            "a stream that nobody reads stops all others of its connection, for 5 s each time",
        ),
        Defect(
            _MPLEX + ":142",
            "await self.handle_incoming()",
            "reading is all that a connection does: a vanished remote is never noticed",
        ),
        Defect(
            _MPLEX + ":249",
            "await self.secured_conn.write(_bytes)",
            "a writer waits without end for a remote that does not read, and with it whoever closes the connection",
        ),
        Defect(
            _MPLEX + ":281",
            "header = await decode_uvarint_from_stream(self.secured_conn)",
            "each header is read byte by byte, each byte through five coroutines",
        ),
        Defect(
            "stream_muxer/mplex/mplex_stream.py:276",
            'raise TimeoutError("Timeout while trying to close the stream")',
            "closing a stream raises what no caller of a multiplexer expects",
        ),
    ),
    "listener": (
        Defect(
            "transport/tcp/tcp.py:94",
            "_set_reuse_flags(sock)",
            "SO_REUSEPORT: a second node on a taken port starts, and the kernel deals out connections between both",
        ),
        Defect(
            "transport/tcp/tcp.py:303",
            "trio.lowlevel.spawn_system_task(_run_server)",
            "connections are served in a system task, where a stray exception is an internal error of trio",
        ),
        Defect(
            "io/trio.py:104",
            "if not isinstance(remote_addr, tuple) or len(remote_addr) != 2:",
            "an IPv6 connection has no remote address, so nothing can be counted by it",
        ),
    ),
    "admission": (
        Defect(
            "network/swarm.py:2060",
            "await self.manager.wait_finished()",
            "an inbound slot is released when the swarm ends: after 250 inbound connections nobody is let in",
        ),
        Defect(
            "network/swarm.py:1982",
            "self._inbound_limiter.acquire_nowait()",
            "a socket that says nothing holds a slot for ten seconds; 300 of one machine hold all",
        ),
    ),
    "dialing": (
        Defect(
            "network/swarm.py:114",
            "def __init__(self, ttl: float = 60.0, max_size: int = 10000) -> None:",
            "after one failed dial a peer is not dialed again for 60 s",
        ),
        Defect(
            "network/swarm.py:936",
            "with trio.move_on_after(_HAPPY_EYEBALLS_DELAY):",
            "250 ms pass after every dial, also after one that succeeded",
        ),
        Defect(
            "network/swarm.py:1588",
            "connections = await self.dial_peer(peer_id)",
            "asking for a stream dials addresses that strangers put into the peerstore",
        ),
    ),
    "content-ids": (
        Defect(
            "pubsub/gossipsub.py:2915",
            "msg_key = msg.from_id + msg.seqno",
            "empty for every message without author: the second one is taken for an equivocation of the first",
        ),
        Defect(
            "pubsub/mcache.py:73",
            "mid: bytes = default_msg_id_fn(msg)",
            "the message cache ignores the message id function",
        ),
    ),
    "no-authors": (
        Defect("pubsub/pubsub.py:1584", "from_id=self.my_id.to_bytes(),", "what we publish always names its author"),
        Defect(
            "pubsub/pubsub.py:1745",
            "if self.strict_signing:",
            "signed messages are taken by a node that does not sign, instead of refused",
        ),
    ),
    "guarded-gossip": (
        Defect(
            "pubsub/pubsub.py:1641",
            "if not validator(msg_forwarder, msg):",
            "an exception in our validator ends all of gossip",
        ),
        Defect("pubsub/validators.py:63", "raise", "so does a signed message with a malformed key"),
        Defect(
            "pubsub/pubsub.py:562",
            "rpc_incoming.ParseFromString(incoming)",
            "and a frame that is no protobuf",
        ),
        Defect(
            "pubsub/pubsub.py:586",
            "self.manager.run_task(self.push_msg, peer_id, msg)",
            "one frame of up to 1 MiB starts a task for each of its messages",
        ),
        Defect(
            "pubsub/utils.py:44",
            "if not host.get_peerstore().consume_peer_record(envelope, 7200):",
            "signed addresses of every peer ever met are stored and never forgotten",
        ),
        Defect(
            "pubsub/pubsub.py:1683",
            "self.validation_cache.put(",
            "a message found invalid stays so for 300 s, though it may only have been early",
        ),
        Defect(
            "pubsub/gossipsub.py:1627",
            "self.back_off[topic] = dict()",
            "any topic name that a PRUNE invents is remembered for ever",
        ),
        Defect(
            "pubsub/pubsub.py:1135",
            "if peer_id not in self.peers:",
            "a peer that asked for a place in the mesh, refused our stream, and left, stays in the mesh for ever: a "
            "dozen of them fill it, and nothing is sent to anybody else",
        ),
        Defect("pubsub/gossipsub.py:1925", "await self._do_px(px_peers)", "a PRUNE tells us whom to dial"),
        Defect(
            "pubsub/gossipsub.py:1089",
            "self.recent_message_deliveries[topic].append(time.time())",
            "each delivery is remembered, and forgotten only in a mode that is off",
        ),
        Defect(
            "pubsub/gossipsub.py:1256",
            "graft_msgs.append(graft_msg)",
            "the list is not emptied between peers: each is sent what was meant for those before it",
        ),
        Defect(
            "pubsub/gossipsub.py:1511",
            "topic, gossip_count, current_peers, True",
            "a peer that pruned us is not told of messages by id either, for as long as it asked not to be grafted",
        ),
        Defect(
            "pubsub/rpc_queue.py:39",
            "OutBoundQueueSize = 32",
            "every message is announced by an IDONTWANT as long as itself, which takes the place of others here",
        ),
        Defect(
            "tools/timed_cache/base_timed_cache.py:26",
            "self._thread.start()",
            "a thread that nothing ends, for a cache that nothing bounds",
        ),
    ),
    # Replaced rather than switched: there is no node without these.
    "always": (
        Defect(
            "network/swarm.py:2617",
            "self.manager.run_task(muxed_conn.start)",
            "a connection's tasks have no common scope: cancelled on its way through close, it stays in the table "
            "and nobody hears of its end",
        ),
        Defect(
            _CONN + ":218",
            "await trio.sleep(0.1)",
            "closing takes 0.2 s of sleeps per connection, and the swarm closes one after the other",
        ),
        Defect("network/swarm.py:393", "await self.auto_connector.start()", "dials whatever the peerstore has"),
        Defect(_CONN + ":95", "logging.warning(", "the root logger, which this call may give a stderr handler"),
        Defect(
            "identity/update.py:66",
            "MAX_LISTEN_ADDRS = 1000",
            "so many addresses of each peer that identifies itself are stored, and never forgotten",
        ),
        Defect(
            "host/ping.py:231",
            'if stream is None or (hasattr(stream, "is_closed") and stream.is_closed()):',
            "a property is called: two pings at once fail",
        ),
    ),
}
