"""Parts of docs/rpc.md: who may call and how often, and events."""

from __future__ import annotations

from spvnode.rpc import limits
from spvnode.rpc.caller import Scope
from spvnode.rpc.events.feed import KEEPALIVE_SECONDS, KINDS
from spvnode.rpc.events.journal import MAX_NOTICES, MAX_OWNER_NOTICES, MAX_TOKEN_NOTICES
from spvnode.rpc.events.webhooks import Pace
from spvnode.rpc.rates import BURST_SECONDS, MAX_DELAY, METHOD_SHARE, WINDOW_SECONDS

ACCESS = f"""
# Who may call, and how often

The user of the unix socket and the holder of the cookie may do everything. Programs that shall do less get a token,
a JWT (HS256) with a subject, an end, and scopes ({", ".join(f"`{one.value}`" for one in Scope)}; none contains another;
each method below names the one that it wants):

    spvnode token create grafana --scope read --days 365
    curl -H "Authorization: Bearer TOKEN" http://127.0.0.1:8342/ -d '{{"method": "getblockcount"}}'

Clients that only know user and password give it as the password of the user `__token__`. There is no token until one
is made; `spvnode token list` and `revoke` do what they say, at once where the daemon runs. Keys lie in `token.key` in
the data directory (or `rpc.token_key_file`, or `SPVNODE_TOKEN_KEY`): one a line, the first signs, all verify. Other
programs may make tokens with them; `exp` and `sub` must be there, `scope` is words in one string, `jti` is what can
be revoked. A stream of events ends with the token that it was asked for with.

Beyond loopback (`rpc.bind`) the RPC wants TLS (`rpc.tls_cert`, `rpc.tls_key`) and a token key, and all but `/livez`
and `/readyz` then wants the scope `read`; `rpc.insecure` is for a proxy in front that has both. `Host` must be this
machine, there also an address or one of `rpc.hosts`; an `Origin` must be our own, and a
browser that says by `Sec-Fetch-Site` that another page asks is refused, unless somebody followed a link. A head with
both `Content-Length` and `Transfer-Encoding`, or with two `Origin` or `Authorization` lines, is answered with 400.

Every call costs units, most of them 1, off the rate of its user (`rpc.rates`); {BURST_SECONDS:g} seconds' worth may
come at once. In any {WINDOW_SECONDS:g} s one method may take {METHOD_SHARE:.0%} of that rate. A call that comes up to
{MAX_DELAY:g} s early waits; after that it is refused with error -32005, HTTP 429 and `Retry-After`. Rates, limits,
names, tokens, plugins and middleware are read anew by `spvnode reload` and SIGHUP; what needs a restart is named, and
what does not hold changes nothing. All bounds are in limits.md.

# Events

`GET /events` are server-sent events, `GET /ws` the same as WebSocket messages (`{{"id": ..., "event": ..., "data":
...}}`), both from the durable logs: one of each network, and one of the node, `node`, with the last
watches that fired, changes of readiness and objections of plugins (`check`): {MAX_NOTICES:,} at most, of them
{MAX_OWNER_NOTICES} of one token's, {
    MAX_TOKEN_NOTICES:,} of all tokens' (watches.md). They are open as `/metrics` is; what a
token watches is told to that token and to the operator.

    curl -N 'http://127.0.0.1:8342/events?networks=bitcoin&kinds=reorg,finality,watch'

The id of an event is a cursor, `NETWORK:NUMBER` for each log with commas between. Who comes back with the last one
that it has handled, as `Last-Event-ID` or in the query as `cursor`, misses nothing and sees nothing twice, over
restarts and crashes of either side; `NETWORK:0` begins with the oldest. Without one events begin now. An id without
an event only moves the cursor, also every {KEEPALIVE_SECONDS:g} s of silence. Kinds: {
    ", ".join(f"`{kind}`" for kind in sorted(KINDS))
}; `gap` is always told: numbers after `after` and before `next` are no longer kept, or were taken
back by a power cut. Of `node` also numbers are missing that were not for the reader; these are no gap.
`filter=NAME` tells only of what that plugin keeps (plugins.md). Up to
{limits.MAX_SUBSCRIPTIONS} may listen or wait over TCP (`rpc.subscriptions`).

`[[rpc.webhook]]` posts events to an address, signed as [Standard Webhooks](https://www.standardwebhooks.com) has it
(`webhook-id`, `webhook-timestamp`, `webhook-signature: v1,...`), in order, each until it is answered with 2xx. After
{Pace().tries} tries, with pauses from {Pace().first:g} s to {Pace().cap / 3600:g} h, it goes to
`<datadir>/webhooks/NAME.dead.jsonl`. A crash may deliver an event again, under the same `webhook-id`. Metrics tell how
each fares: `spvnode_webhook_tries_total`, `spvnode_webhook_dead_letters_total`, `spvnode_webhook_lag`.
"""
