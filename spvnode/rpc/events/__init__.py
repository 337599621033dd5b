"""What happened, told to those who listen: server-sent events, WebSocket, webhooks, calls that wait, watches.

All of them read durable logs by a cursor: one log a network (the store's), and one of the node itself, ``node``
(``journal``: watches that fired, readiness that changed). Nothing is queued for anybody, so that a slow reader costs no
memory, and one who comes back with the cursor of the last event that it has handled misses nothing and sees nothing
twice.
"""
