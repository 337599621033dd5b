"""Every bound of the RPC server. Who can fill it: any process on this machine up to the point where it must show the
cookie, the operator's own clients after that."""

from __future__ import annotations

MAX_BODY_BYTES = 2 << 20
"""Bytes of one request's body. ``importheaders`` with a full run of hex takes 1,290,240."""
MAX_HEADER_BYTES = 16 << 10
"""Bytes of one request line with its headers, and of a chunk header. Browsers stay under 8 KiB."""
MAX_BATCH = 100
"""Calls in one batch."""
MAX_REPLY_BYTES = 4 << 20
"""Bytes of one batch's reply; calls past that are answered with an error. Beyond every sensible single reply."""
GREAT_REPLY_BYTES = 256 << 10
"""A reply beyond this is great: a batch that passes it waits for room, and a call that alone makes one waits before."""
MAX_GREAT_REPLIES = 2
"""Great replies of each listener, one of each user, from before they are made until they have left: a batch of
``MAX_REPLY_BYTES`` and a last reply of 3 MB, twice while it is put together. More wait, as long as a request may."""
MAX_JSON_DEPTH = 8
"""Levels of ``[`` and ``{``. A batch of calls with a proof bundle among the parameters has 5."""
MAX_JSON_TOKENS = 100_000
"""Strings and brackets in one body, some 0.1 s to look at. 30,000 hashes fit a body."""
INLINE_BODY_BYTES = 8 << 10
"""A body up to here is parsed where it is (3 ms at worst), a longer one in a worker thread."""
MAX_METHOD_NAME = 64
"""Characters of a method name that an error repeats."""
MAX_EVENTS = 1_000
"""Events in one ``getevents``: what the store reads at once. A long reorganization's takes some kB."""
MAX_IMPORT_HEADERS = 8_064
"""Headers in one ``importheaders``: four difficulty periods, the same as a mesh peer may send at once."""
MAX_AUTHORIZATION = 256
"""Characters of the Authorization header that are looked at; the cookie's takes 106."""
MAX_CONNECTIONS = 64
"""Open TCP connections, 10 to 30 KB each; ``rpc.connections`` sets another number. Any local process can fill it; the
unix socket stays free."""
MAX_UNIX_CONNECTIONS = 32
"""Open connections on the unix socket, which only this user can reach."""
MAX_SUBSCRIPTIONS = 32
"""Event streams and waiting calls at once over TCP, half of the connections; ``rpc.subscriptions`` sets another number.
As many again on the unix socket."""
MAX_USER_SUBSCRIPTIONS = 16
"""Of one user among them, all without credentials together being one, unless ``rpc.subscriptions`` is set higher than
the default."""
MAX_TURNED_AWAY = 64
"""Connections over a limit that are being told so at once; those beyond are dropped without a word."""
MAX_CONCURRENT_REQUESTS = 16
"""Authorised requests that are worked on at once, of each listener. More wait their turn."""
MAX_USER_REQUESTS = 8
"""Of one user among them, over TCP: a user who sends slowly, or whose calls are being delayed, leaves room."""
SMALL_BODY_BYTES = 64 << 10
"""A body up to here is read at once, with all others: at most ``MAX_CONCURRENT_REQUESTS`` of each listener."""
MAX_BIG_BODIES = 2
"""Longer bodies held in memory at once, of each listener (with ``MAX_BODY_BYTES`` and its copy: 8 MiB)."""
MAX_HEADERS = 64
"""Header lines of one request; browsers send 20."""
TCP_TURNS = 2
"""TCP connections that work in one round of the event loop, once more are open; a round is so a few ms long, and the
unix socket, which waits for no turn, answers within a few of them."""
PRIORITY_SECONDS = 0.005
"""That TCP, where it is crowded or in the middle of long work, holds still from when it sees that the unix socket
stirred: a call there is answered within."""
ROUND_SECONDS = 0.002
"""After which the calls of a batch let the event loop go on where no turns are taken: one round costs 10 us."""
HANDSHAKE_SECONDS = 10.0
"""For a TLS handshake."""
HEADER_SECONDS = 10.0
"""For a whole request head to arrive, from its first byte (from the connection for the first one). Slow drips end."""
IDLE_SECONDS = 60.0
"""A kept-alive connection without a request. Pollers ask more often."""
REQUEST_SECONDS = 60.0
"""From the end of the head to the last byte of the reply, a client that does not read included. A stream of events has
as much for each event."""
LINGER_SECONDS = 1.0
"""For a client that was refused to stop sending, so that it reads the refusal and not a reset."""
