"""The way of every request: a chain of small steps.

Three phases. Pre-route: method, path, headers and peer are known, and a step may refuse. In-route: the route and the
caller are known, and a step may refuse or let the caller wait; each JSON-RPC call is a visit of its own, and so goes
through this phase once more, as a method. Post-route: there is an answer, and a step may add headers, log or measure;
of a JSON-RPC call it is told as well.

``guard``, ``access``, ``tracing`` and ``scope`` come first, then what ``[[rpc.middleware]]`` names, in its order, then
``rate``, ``no-store`` and ``metrics``. The configuration adds steps; it removes none and changes no place. The chain is
one frozen value, made anew with each reload; a request goes to its end with the chain, and with the settings, that it
began with.
"""
