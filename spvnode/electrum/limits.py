"""Every bound of the Electrum server. Who can fill it: any process on this machine; where it listens beyond loopback,
anybody, as the protocol knows no credentials."""

from __future__ import annotations

MAX_HEADERS = 2_016
"""Headers in one ``blockchain.block.headers``: a difficulty period, which clients ask for; 323 kB of hex."""
MAX_LINE = 64 << 10
"""Bytes of one line from a client. Calls take some 200; a transaction to broadcast, up to 32 kB, is told that it is not
served."""
RECEIVE_BYTES = 16 << 10
"""Read at once from the socket: with ``MAX_LINE``, what a client can make us hold before it is cut."""
MAX_BATCH = 100
"""Calls in one line."""
MAX_PARAMS = 1_024
"""Bytes of one call's parameters, and kept as bytes until they are looked at: 64 kB of empty lists take 2 MB once they
are read. The longest that a method has, ``server.add_peer``'s, take some 300."""
MAX_REPLY_BYTES = 512 << 10
"""Bytes of one batch's reply; calls past that are answered with an error. One full run of headers fits."""
MAX_METHOD_NAME = 64
"""Characters of a method's name that are kept, and an error repeats."""
MAX_ID = 64
"""Characters of a call's id, which the reply repeats. Clients count."""
MAX_IN_FLIGHT = 4
"""Lines of one connection that wait for a block at once; until one is done no further line is read."""
MAX_BLOCK_FETCHES = 2
"""Blocks fetched and parsed at once over all connections, some 30 MB each while it is parsed. More wait their turn."""
MAX_CACHED_BLOCKS = 8
"""Blocks whose txids are kept for the next question, at most 0.5 MB each: wallets ask for many of one block."""
MAX_PLACE_CONNECTIONS = 8
"""Connections from one place (an address; of IPv6, its /64) where the server listens beyond loopback, so that no one
place takes them all. On loopback all have the same address, and none is told apart."""
MAX_UNSENT = 8 << 20
"""Bytes of replies that clients have not read, over all connections; past that the one that has read nothing for the
longest is cut."""
SEND_BYTES = 64 << 10
"""Sent at once; a client makes progress when it has taken as much."""
SEND_SECONDS = 30.0
"""For a client to take ``SEND_BYTES``; one that does not is cut."""
FIRST_LINE_SECONDS = 10.0
"""From connecting (or the end of the TLS handshake) to the end of the first line."""
LINE_SECONDS = 30.0
"""From the first byte of a line to its end: slow drips end."""
IDLE_SECONDS = 600.0
"""Without a line. The protocol lets a server go after roughly ten minutes; clients ping every one or two."""
BLOCK_SECONDS = 60.0
"""For a line whose answer needs blocks from peers."""
HANDSHAKE_SECONDS = 10.0
"""For a TLS handshake."""
LINGER_SECONDS = 1.0
"""For a client that is parted from to read why, and for TLS's farewell."""
TURNS = 2
"""Connections that work in one round of the event loop: a round is so a few ms long however many are open."""
TIP_CHECK_SECONDS = 1.0
"""Between two looks at the tip while somebody is subscribed and no event comes."""
BACKLOG = 64
"""Connections that the kernel holds until they are accepted."""
