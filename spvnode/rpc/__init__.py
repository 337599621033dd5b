"""JSON-RPC over HTTP on loopback and on a unix socket: registry of methods, dispatch, auth, limits, server."""
