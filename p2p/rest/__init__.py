"""Beacon nodes over HTTP: their addresses, bounded requests, the Beacon API's light-client routes, the event stream.

Bytes in, bytes out: what an answer means is for whoever asked. Whatever a server does ends as a ``RemoteFault``.
"""
