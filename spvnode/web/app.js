// The dashboard: asks the RPC, listens to /events, and writes what it hears into the page, as text and never as markup.

import { ago, bytes, count, hexOf, make, put, short, since, span } from "./text.js";
import { isVersion1, verify } from "./verify.js";

const TOKEN = "spvnode-token"; // in the tab's session storage: of this origin with its port, gone with the tab
const POLL_MS = 5000;
const SETTLE_MS = 700; // after an event, before the node is asked again: events come in bursts
const COME_BACK_MS = 3000;
const HISTORY = 300; // events of each log that are read when the page opens
const MAX_EVENTS = 300; // in the page; the log itself is the node's
const MAX_FILE = 16 << 20;
const STEPS = new Set(["extend", "advance"]);
const WORDS = {
  extend: "new headers", advance: "new headers", reorg: "reorganization", fork: "competing branch", fault: "fault",
  backfill: "older headers", finality: "finalized", readiness: "readiness", watch: "watch", check: "objection", gap: "gap in the log",
};
const BAD = new Set(["reorg", "fault", "check", "gap"]);

const state = { token: "", steps: false, asked: false, again: null, session: null };
const at = (id) => document.getElementById(id);

// -- the node

class Unauthorized extends Error {}

async function ask(path, init = {}) {
  const headers = { ...init.headers };
  if (state.token) headers.authorization = `Bearer ${state.token}`;
  const reply = await fetch(path, { ...init, headers, credentials: "omit", cache: "no-store", redirect: "error" });
  if (reply.status === 401) throw new Unauthorized(await reply.text());
  return reply;
}

/** Results of `calls` ([method, params]), null for those that the node refuses. */
async function call(calls) {
  const body = calls.map(([method, params], id) => ({ jsonrpc: "2.0", id, method, params }));
  const reply = await ask("/", { method: "POST", body: JSON.stringify(body) });
  if (!reply.ok) throw new Error((await reply.text()).trim());
  const found = new Map((await reply.json()).map((one) => [one.id, one]));
  return calls.map((_, id) => found.get(id)?.result ?? null);
}

async function refresh() {
  if (state.asked) return;
  state.asked = true;
  try {
    const ready = await (await ask("/readyz")).json();
    const names = Object.keys(ready.networks);
    const known = state.token ? await details(names) : { node: null, chains: {} };
    show(ready.networks, known);
  } catch (error) {
    if (error instanceof Unauthorized) leave(error.message.trim());
    else say(`The node does not answer (${error.message}).`, false);
  } finally {
    state.asked = false;
  }
}

async function details(names) {
  const named = names.flatMap((network) => [["getsyncinfo", { network }], ["getpeerinfo", { network }]]);
  const [node, ...found] = await call([["getnodeinfo", {}], ...named]);
  const chains = {};
  names.forEach((name, i) => { chains[name] = { sync: found[2 * i], peers: found[2 * i + 1] ?? [] }; });
  const heads = names.flatMap((network) => ("grounds" in (chains[network].sync ?? {})
    ? [["getfinalizedheader", { network }], ["getoptimisticheader", { network }]]
    : [["getblockchaininfo", { network }], ["getchaintips", { network }]]));
  const told = await call(heads);
  names.forEach((name, i) => { chains[name].heads = [told[2 * i], told[2 * i + 1]]; });
  return { node, chains };
}

function soon() {
  clearTimeout(state.again);
  state.again = setTimeout(refresh, SETTLE_MS);
}

function say(text, live) {
  const place = at("live");
  if (place.textContent !== text) place.textContent = text;
  place.classList.toggle("on", live);
}

// -- what is shown

function show(networks, { node, chains }) {
  at("version").textContent = node ? `${node.version}, up ${span(node.uptime)}` : "";
  const all = Object.entries(networks);
  const waiting = all.filter(([, one]) => !one.ready).map(([name]) => name);
  if (state.token && !node) say("Connected, but the node refuses what this page asks: the token wants the scope read.", false);
  else say(waiting.length ? `Connected. Not ready: ${waiting.join(", ")}.` : "Connected. Ready.", true);
  put(at("cards"), [networks, chains], ...all.map(([name, one]) => card(name, one, chains[name])));
  const rows = Object.entries(chains).flatMap(([name, chain]) => chain.peers.map((peer) => [name, peer]));
  at("peers").hidden = !node;
  at("peer-count").textContent = rows.length ? count(rows.length) : "";
  at("no-peers").textContent = rows.length ? "" : "No peer is connected.";
  put(at("peer-rows"), rows, ...rows.map(([name, peer]) => peerRow(name, peer)));
}

function card(name, ready, chain) {
  const id = `net-${name}`;
  const badge = make("span", { className: `badge ${ready.ready ? "good" : "bad"}` }, ready.ready ? "Ready" : "Not ready");
  const warnings = [...ready.reasons, ...(chain?.sync?.warnings ?? [])];
  const reasons = make("ul", { className: `reasons ${ready.ready ? "note" : "bad"}` }, ...warnings.map((one) => make("li", {}, one)));
  const lines = make("dl");
  const line = (term, value, className = "") => lines.append(make("dt", {}, term), make("dd", { className }, value));
  if (chain?.sync) ("grounds" in chain.sync ? beaconLines : headerLines)(chain, line);
  line("Tip's age", span(ready.tip_age));
  line("Peers last useful", ago(ready.last_useful_event_age));
  if (chain?.sync) syncLines(chain, line);
  const card = make("article", { className: "card" },
    make("header", {}, make("h3", { id }, name), badge), warnings.length ? reasons : null, lines);
  card.setAttribute("aria-labelledby", id);
  return card;
}

function headerLines({ heads: [info, tips] }, line) {
  if (!info) return;
  line("Height", count(info.blocks), "big");
  line("Tip", make("span", { className: "mono", title: info.bestblockhash }, short(info.bestblockhash)));
  if (info.verificationprogress < 1) line("Held", `${(100 * info.verificationprogress).toFixed(1)} % of the chain's time`);
  line("Rests on", info.start.kind === "genesis" ? "genesis, all of it checked" : `a checkpoint at ${count(info.start.height)}`);
  if (tips && tips.length > 1) line("Other tips", tips.slice(1, 5).map((tip) => count(tip.height)).join(", "));
}

function beaconLines({ sync, heads: [final, head] }, line) {
  if (!final || !head) return line("Waits for", sync.trust || sync.waiting_for || "its checkpoint");
  line("Finalized slot", count(final.slot), "big");
  line("Signed slot", count(head.slot));
  line("Finalized", `${ago(final.age)}${final.execution ? `, block ${count(final.execution.block_number)}` : ""}`);
  line("Root", make("span", { className: "mono", title: final.root }, short(final.root)));
  const part = final.participation;
  if (part) line("Signed by", `${count(part.participants)} of ${count(part.committee_size)}`);
  return line("Rests on", `a checkpoint at slot ${count(sync.grounds.slot)} (${sync.grounds.vouched_by.join(", ")})`);
}

function syncLines({ sync, peers }, line) {
  line("State", sync.state);
  if (sync.headers_per_second !== undefined) line("Rate", `${count(sync.headers_per_second)} ${"grounds" in sync ? "updates" : "headers"}/s`);
  line("Peers", count(peers.length));
  const faults = Object.entries(sync.faults ?? {});
  if (faults.length) line("Faults", faults.map(([why, times]) => `${why} ${times}`).join(", "));
}

function peerRow(network, peer) {
  const tip = peer.synced_headers ?? peer.status?.head_slot ?? peer.startingheight;
  const cells = [
    ["Network", network], ["Direction", peer.inbound ? "inbound" : "outbound"], ["Tip", count(tip)],
    ["Client", peer.subver || peer.transport_protocol_type || "–"], ["Connected", since(peer.conntime)],
    ["Last useful", since(peer.last_useful)], ["Received", bytes(peer.bytesrecv)],
  ];
  const name = peer.addr || peer.peer_id || String(peer.id);
  const head = make("th", { scope: "row", className: "mono", title: name }, name.length > 40 ? `${name.slice(0, 22)}…${name.slice(-10)}` : name);
  head.setAttribute("role", "rowheader");
  const row = make("tr", {}, head, ...cells.map(([label, text]) => make("td", { data: { name: label } }, text)));
  row.setAttribute("role", "row");
  for (const cell of row.cells) if (cell !== head) cell.setAttribute("role", "cell");
  return row;
}

// -- events

function tell(kind, data) {
  if (state.steps || !STEPS.has(kind)) addEvent(kind, data);
  soon();
}

function describe(kind, data) {
  const to = data.to ? `${count(data.to.height)} (${short(data.to.hash)})` : "";
  if (kind === "reorg") return `${count(data.undo_count)} undone and ${count(data.redo_count)} applied above ${count(data.fork_height)}; tip ${to}`;
  if (STEPS.has(kind)) return `to ${to}`;
  if (kind === "readiness") return data.ready ? "ready" : `not ready: ${(data.reasons ?? []).join("; ")}`;
  if (kind === "check") return `${data.plugin} on ${count(data.height)} (${short(data.hash)}): ${data.fault ?? `code ${data.code}`}`;
  if (kind === "gap") return `nothing is kept between ${count(data.after)} and ${count(data.next)}`;
  const detail = typeof data.detail === "string" ? data.detail : data.detail ? JSON.stringify(data.detail) : "";
  return [detail, to && `tip ${to}`].filter(Boolean).join("; ") || "–";
}

function addEvent(kind, data) {
  const when = new Date((data.time ?? Date.now() / 1000) * 1000);
  const look = BAD.has(kind) || (kind === "readiness" && !data.ready) ? "bad" : kind === "readiness" || kind === "finality" ? "good" : "note";
  const item = make("li", { data: { kind, time: String(+when) } },
    make("time", { dateTime: when.toISOString() }, `${when.toLocaleDateString("sv")} ${when.toLocaleTimeString("sv")}`),
    make("span", { className: `badge ${look}` }, WORDS[kind] ?? kind),
    make("span", { className: "what" }, `${data.network ?? ""}: ${describe(kind, data)}`));
  const list = at("events"); // newest first; logs of several networks come one after the other
  const before = [...list.children].find((one) => Number(one.dataset.time) <= +when) ?? null;
  list.insertBefore(item, before);
  if (list.children.length > MAX_EVENTS) list.lastElementChild.remove();
  at("no-events").hidden = true;
}

/** Events as they come, by fetch and not EventSource: that could not send the token. Calls `each(id, kind, data)`. */
async function stream(cursor, signal, each) {
  const query = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
  const reply = await ask(`/events${query}`, { signal, headers: { accept: "text/event-stream" } });
  if (!reply.ok) throw new Error(await reply.text());
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const fields = Object.fromEntries(message.split("\n").map((one) => one.split(/: (.*)/s, 2)));
      if (fields.id !== undefined && each(fields.id, fields.event, fields.data) === "enough") return;
    }
  }
}

/** First where the logs are now, then from `HISTORY` events before that, then on and on. */
async function follow(session) {
  let cursor = "";
  const { signal } = session;
  while (!signal.aborted) {
    try {
      if (!cursor) {
        await stream("", signal, (id) => { cursor = id; return "enough"; });
        cursor = cursor.replace(/:(\d+)/g, (_, last) => `:${Math.max(0, Number(last) - HISTORY)}`);
        at("events").replaceChildren();
      }
      await stream(cursor, signal, (id, kind, data) => {
        cursor = id;
        if (kind) tell(kind, JSON.parse(data));
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Unauthorized) return; // refresh() tells that
    }
    await new Promise((done) => { setTimeout(done, COME_BACK_MS); });
  }
}

// -- signing in

function enter(token) {
  state.token = token;
  sessionStorage.setItem(TOKEN, token);
  at("login-problem").textContent = "";
  begin();
}

function leave(problem = "") {
  state.token = "";
  sessionStorage.removeItem(TOKEN);
  at("login-problem").textContent = problem;
  begin();
}

function begin() {
  at("login").hidden = Boolean(state.token);
  at("logout").hidden = !state.token;
  state.session?.abort();
  state.session = new AbortController();
  follow(state.session);
  state.asked = false;
  refresh();
}

function takeLink() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return null;
  history.replaceState(null, "", location.pathname); // before anything else: it stays in no address bar
  return given;
}

// -- verifying

async function readBundle(file) {
  if (file.size > MAX_FILE) throw new Error(`${bytes(file.size)}: longer than any bundle`);
  const data = new Uint8Array(await file.arrayBuffer());
  const text = data.every((one) => one < 128 && (one > 31 || one === 9 || one === 10 || one === 13));
  return text ? new TextDecoder().decode(data) : data;
}

const forRpc = (given) => (typeof given !== "string" ? hexOf(given)
  : given.trim().startsWith("{") ? JSON.parse(given) : given.trim());

async function askNode(given) {
  if (!state.token) return null;
  const reply = await ask("/", {
    method: "POST",
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "verifyheaderproof", params: { bundle: forRpc(given) } }),
  });
  const found = reply.ok ? await reply.json() : { error: { message: (await reply.text()).trim() } };
  if (found.error) throw new Error(found.error.message);
  return found.result;
}

function nodeSays(answer) {
  const words = { true: "yes", false: "no", null: "this node cannot tell" };
  const asked = [["root_matches", "Same root as this node's chain"], ["checkpoint_matches", "Same start of trust as this node's"],
    ["in_active_chain", "On this node's active chain"]];
  return asked.filter(([key]) => key in answer).map(([key, text]) => [text, words[String(answer[key])]]);
}

/** `look`: good, note (it holds, on its maker's word alone) or bad. */
function showVerdict(look, text, by, lines = []) {
  const heads = { good: "It holds", note: "It holds together, on its maker's word alone", bad: "Refused" };
  const list = make("dl", {}, ...lines.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, String(value))]));
  const box = make("div", { className: look },
    make("h3", {}, heads[look]), make("p", {}, text), make("p", {}, by), lines.length ? list : null);
  at("verdict").replaceChildren(box);
}

async function judge(given, trusted) {
  if (isVersion1(given) && globalThis.crypto?.subtle) {
    const found = await verify(given, trusted);
    const lines = found.ok ? [["Rests on", found.rests_on]] : [["Reason", found.reason]];
    const answer = found.ok ? await askNode(given).catch(() => null) : null;
    const backed = trusted || (answer?.root_matches && answer.in_active_chain);
    const look = !found.ok ? "bad" : backed ? "good" : "note";
    return showVerdict(look, found.says, "Checked in this page.", [...lines, ...(answer ? nodeSays(answer) : [])]);
  }
  if (trusted) throw new Error("a root that you trust is compared in this page only, for version 1");
  const answer = await askNode(given);
  if (!answer) throw new Error("sign in: this bundle is checked by the node");
  const backed = answer.in_active_chain && (answer.root_matches || answer.checkpoint_matches);
  const look = !answer.valid ? "bad" : backed ? "good" : "note";
  return showVerdict(look, answer.says, "Checked by the node.", answer.valid
    ? [["Rests on", answer.rests_on], ...nodeSays(answer)] : [["Reason", answer.reason]]);
}

async function onVerify(given) {
  const trusted = at("root").value.trim().toLowerCase();
  const button = at("verify-form").querySelector("button");
  button.disabled = true;
  try {
    await judge(given, trusted);
  } catch (error) {
    showVerdict("bad", `It could not be checked: ${error.message}.`, "");
  } finally {
    button.disabled = false;
  }
}

async function takeFile(file) {
  const given = await readBundle(file).catch((error) => showVerdict("bad", `It could not be read: ${error.message}.`, ""));
  if (given === undefined) return;
  at("bundle").value = typeof given === "string" ? given : hexOf(given);
  await onVerify(given);
}

// -- wiring

at("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(at("token").value.trim());
  at("token").value = "";
});
at("logout").addEventListener("click", () => leave());
at("steps").addEventListener("change", (event) => {
  state.steps = event.target.checked;
  begin(); // reads the history again
});
at("verify-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (at("bundle").value.trim()) onVerify(at("bundle").value);
});
at("file").addEventListener("change", (event) => event.target.files.length && takeFile(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  at("verify").addEventListener(kind, (event) => {
    event.preventDefault();
    at("bundle").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) takeFile(event.dataTransfer.files[0]);
  });
}
globalThis.addEventListener("hashchange", () => { const given = takeLink(); if (given) enter(given); });
setInterval(() => { if (!document.hidden) refresh(); }, POLL_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

state.token = takeLink() ?? sessionStorage.getItem(TOKEN) ?? "";
if (state.token) sessionStorage.setItem(TOKEN, state.token);
begin();
