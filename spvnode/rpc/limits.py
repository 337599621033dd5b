"""Every bound of the RPC server. Who can fill it: any process on this machine up to the point where it must show the
cookie, the operator's own clients after that."""

from __future__ import annotations

MAX_BODY_BYTES = 2 << 20
"""Bytes of one request's body. ``importheaders`` with a full run of hex takes 1,290,240."""
MAX_HEADER_BYTES = 16 << 10
"""Bytes of one request line with its headers, and of a chunk header. Browsers stay under 8 KiB."""
MAX_BATCH = 100
"""Calls in one batch."""
MAX_REPLY_BYTES = 8 << 20
"""Bytes of one batch's reply; calls past that are answered with an error. Beyond every sensible single reply."""
MAX_JSON_DEPTH = 8
"""Levels of ``[`` and ``{``. A batch of calls with a proof bundle among the parameters has 5."""
MAX_METHOD_NAME = 64
"""Characters of a method name that an error repeats."""
MAX_EVENTS = 1_000
"""Events in one ``getevents``: what the store reads at once. A long reorganization's takes some kB."""
MAX_IMPORT_HEADERS = 8_064
"""Headers in one ``importheaders``: four difficulty periods, the same as a mesh peer may send at once."""
MAX_AUTHORIZATION = 256
"""Characters of the Authorization header that are looked at; the cookie's takes 106."""
MAX_CONNECTIONS = 64
"""Open TCP connections, 10 to 30 KB each. Any local process can fill it; the unix socket stays free."""
MAX_UNIX_CONNECTIONS = 32
"""Open connections on the unix socket, which only this user can reach."""
MAX_TURNED_AWAY = 64
"""Connections over a limit that are being told so at once; those beyond are dropped without a word."""
MAX_CONCURRENT_REQUESTS = 16
"""Authorised requests held in memory at once (with ``MAX_BODY_BYTES``: 32 MiB). More wait their turn."""
HEADER_SECONDS = 10.0
"""For a whole request head to arrive, from its first byte (from the connection for the first one). Slow drips end."""
IDLE_SECONDS = 60.0
"""A kept-alive connection without a request. Pollers ask more often."""
REQUEST_SECONDS = 60.0
"""From the end of the head to the last byte of the reply, a client that does not read included. A stream of events has
as much for each event."""
LINGER_SECONDS = 1.0
"""For a client that was refused to stop sending, so that it reads the refusal and not a reset."""
