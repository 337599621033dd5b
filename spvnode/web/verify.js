// Checks a header-proof bundle of version 1 (Bitcoin) in the page, with WebCrypto's SHA-256 and nothing else.
// It asks what merkle/verify.py asks, in the same order, and gives the same reasons; why these checks are sound is told
// there. Nothing is fetched: what it says does not rest on the daemon that served it, but on this file.

const NETWORKS = { // name: [genesis hash, easiest target], as in Bitcoin Core's chainparams
  bitcoin: ["000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", (1n << 224n) - 1n],
  testnet3: ["000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943", (1n << 224n) - 1n],
  testnet4: ["00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043", (1n << 224n) - 1n],
  signet: ["00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6", 0x377aen << 216n],
  regtest: ["0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", (1n << 255n) - 1n],
};
const LAYOUT = [ // after version u8, name length u8, name. 4 bytes: little-endian number; 32: reversed hex in JSON
  ["genesis", 32], ["range_start", 4], ["start_height", 4], ["start_hash", 32], ["height", 4], ["header", 80],
  ["cp_height", 4], ["tip_header", 80], ["root", 32], ["chainwork", 32], ["made_at", 4],
];
const FIXED = LAYOUT.reduce((sum, [, size]) => sum + size, 0);
export const MAX_BYTES = 34 + FIXED + 96 * 32; // a name of 32 bytes, three paths of 32 nodes
export const MAX_JSON = 4 * MAX_BYTES;

class Refused extends Error {
  constructor(reason, text) {
    super(text);
    this.reason = reason;
  }
}

const refuse = (reason, text) => { throw new Refused(reason, text); };

// -- bytes and hex

const hexOf = (bytes) => Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");

function reversed(hex) {
  if (typeof hex !== "string" || hex.length % 2) throw new TypeError("it is not hex");
  return (hex.match(/../g) ?? []).reverse().join("");
}

function bytesOf(hex) {
  if (typeof hex !== "string" || hex.length % 2 || /[^0-9a-f]/.test(hex)) throw new TypeError("it is not hex");
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

async function sha256d(hex) {
  const once = await crypto.subtle.digest("SHA-256", bytesOf(hex));
  return hexOf(new Uint8Array(await crypto.subtle.digest("SHA-256", once)));
}

const numberOf = (hex) => BigInt("0x" + reversed(hex)); // little-endian

// -- the two forms

/** Fields of the canonical bytes: numbers, and hex in the order of the bytes. */
function fromBytes(data) {
  const name = String.fromCharCode(...data.subarray(2, 2 + (data[1] ?? 0)));
  if (data[0] !== 1 || !Object.hasOwn(NETWORKS, name)) {
    refuse("format", "its version or network is not known to this verifier");
  }
  let at = 2 + data[1];
  const found = { network: name };
  if (data.length < at + FIXED || data.length > MAX_BYTES || (data.length - at - FIXED) % 32) {
    refuse("format", "it is cut short, or followed by something else");
  }
  for (const [key, size] of LAYOUT) {
    const part = hexOf(data.subarray(at, at + size));
    found[key] = size === 4 ? Number(numberOf(part)) : part;
    at += size;
  }
  found.nodes = [];
  for (; at < data.length; at += 32) found.nodes.push(hexOf(data.subarray(at, at + 32)));
  return found;
}

/** The fields as JSON has them: hashes reversed. */
function shown(found) {
  const turned = (value) => (typeof value === "string" && value.length === 64 ? reversed(value) : value);
  const fields = Object.fromEntries(Object.entries(found).map(([key, value]) => [key, turned(value)]));
  return { version: 1, ...fields, nodes: found.nodes.map(reversed) };
}

const tidy = (text) => (text.trim().startsWith("{") ? text.trim() : text.trim().toLowerCase().replace(/^0x/, ""));
const sorted = (object) => JSON.stringify(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)));

/** The bytes of a JSON form, which must come back from them as it was: each bundle is written in one way. */
function bytesOfJson(text) {
  try {
    const given = JSON.parse(text);
    const whole = (value, end) => Number.isInteger(value) && value >= 0 && value < end;
    if (typeof given.network !== "string" || !whole(given.version, 256)) throw new TypeError("version or network");
    const name = Array.from(given.network, (letter) => letter.charCodeAt(0).toString(16).padStart(2, "0"));
    const parts = LAYOUT.map(([key, size]) => {
      const value = given[key];
      if (size !== 4) return size === 32 ? reversed(value) : reversed(reversed(value));
      if (!whole(value, 2 ** 32)) throw new TypeError(key);
      return reversed(value.toString(16).padStart(8, "0"));
    });
    const head = [given.version, name.length].map((one) => one.toString(16).padStart(2, "0"));
    const data = bytesOf([...head, ...name, ...parts, ...given.nodes.map(reversed)].join(""));
    // A field that is named twice, or a number like 1e2, would not be as long as what it was read as.
    const tight = text.replace(/[ \t\r\n]/g, "").length === JSON.stringify(given).length;
    if (tight && sorted(shown(fromBytes(data))) === sorted(given)) return data;
  } catch (error) {
    const expected = [TypeError, SyntaxError, RangeError]; // another shape, no JSON, too deep
    if (!expected.some((kind) => error instanceof kind)) throw error;
  }
  return refuse("format", "it is not the JSON form of a bundle, or has a field that is written in another way");
}

function bytesOfText(text) {
  if (text.startsWith("{")) return bytesOfJson(text);
  if (text.length % 2 || /[^0-9a-f]/.test(text)) refuse("format", "it is neither JSON nor hex");
  return bytesOf(text);
}

// -- the proof

/** The root over `width` leaves, some of them known (by position), the other nodes taken from `supply`. */
async function rootOf(known, parents, width, supply) {
  const beside = (at) => (at % 2 ? at - 1 : at + 1); // no bit operations: positions have up to 32 bits
  while (width > 1) {
    for (const at of [...known.keys()].sort((a, b) => a - b)) {
      if (beside(at) < width && !known.has(beside(at))) {
        known.set(beside(at), supply.shift() ?? refuse("proof", "nodes are missing"));
      }
    }
    for (const [at, parent] of parents) {
      if ((known.get(at - 1) ?? parent) !== parent) {
        refuse("link", "a header does not name the block before it as its parent");
      }
    }
    const above = new Map();
    for (const at of new Set([...known.keys()].map((one) => one - (one % 2)))) {
      const [left, right] = [known.get(at), known.get(at + 1)];
      if (left === right) refuse("proof", "two positions hold the same node, which no chain of blocks has");
      above.set(at / 2, await sha256d(left + (right ?? left)));
    }
    [known, parents, width] = [above, new Map(), Math.ceil(width / 2)];
  }
  if (supply.length) refuse("proof", "nodes are left over");
  return known.get(0);
}

/** Refuses a header that does not meet its own target, or whose target the network does not allow. */
async function checkWork(header, height, limit) {
  const leaf = await sha256d(header);
  const mantissa = numberOf(header.slice(144, 150));
  const target = (mantissa << (8n * numberOf(header.slice(150, 152)))) >> 24n;
  if (mantissa >> 23n || target <= 0n || target > limit) {
    refuse("bad-diffbits", `the header at height ${height} has a target that the network does not allow`);
  }
  if (numberOf(leaf) > target) refuse("high-hash", `the header at height ${height} does not meet its own target`);
  return leaf;
}

async function check(found, trusted) {
  const { range_start: first, start_height: start, height, cp_height: tip } = found;
  const [name, limit] = NETWORKS[found.network];
  const genesis = reversed(name);
  if (!(first === 0 || first === start) || !(start <= height && height <= tip)) {
    refuse("range", "range start, start, height and tip are not in this order");
  }
  if (found.genesis !== genesis || (start === 0 && found.start_hash !== genesis)) {
    refuse("genesis", `it does not begin with the genesis block of ${found.network}`);
  }
  const leaves = new Map([[start - first, found.start_hash]]);
  const parents = new Map();
  let leaf = "";
  for (const [at, header] of [[height, found.header], [tip, found.tip_header]]) {
    leaf = await checkWork(header, at, limit);
    if ((leaves.get(at - first) ?? leaf) !== leaf) {
      refuse("proof", `two different blocks are said to be at height ${at}`);
    }
    leaves.set(at - first, leaf);
    parents.set(at - first, header.slice(8, 72));
  }
  if (await rootOf(leaves, parents, tip - first + 1, [...found.nodes]) !== found.root) {
    refuse("root", "its blocks and nodes do not give the root that it names");
  }
  if (trusted && trusted !== found.root) refuse("trusted-root", "its root is not the one that you trust");
  return { block: await sha256d(found.header), tip: leaf };
}

// -- the verdict

function says(fields, trusted, claimed) {
  const { hash, network, height, range_start: from, cp_height: to, root, start_hash: start } = fields;
  const proven = trusted
    ? `is at height ${height} of the ${network} blocks ${from}..${to} under the root you trust, heights counted from ` +
      `block ${start} at ${fields.start_height}`
    : `meets its own target and is at height ${height} of a tree of ${network} blocks with root ${root}; that they ` +
      "are the chain is the maker's word alone until you compare the root with one that you trust";
  return `Block ${hash} ${proven}. Claimed, not proven: ${claimed.join(", ")}.`;
}

/** Whether `given` (bytes, hex or JSON text) is for this file to judge: version 1. */
export function isVersion1(given) {
  if (given instanceof Uint8Array) return given[0] === 1;
  const text = tidy(given);
  return text.startsWith("{") ? /"version"\s*:\s*1\s*[,}]/.test(text) : text.startsWith("01");
}

/**
 * The verdict on `given`: Uint8Array, hex, or JSON text. `trustedRoot`: 64 hex digits as explorers print them, or "".
 * Never throws for what the bundle holds: {ok, reason, says, rests_on, claimed, fields}.
 */
export async function verify(given, trustedRoot = "") {
  const trusted = trustedRoot && reversed(trustedRoot);
  try {
    if (given.length > 2 * MAX_JSON) refuse("format", "it is longer than any bundle");
    const data = typeof given === "string" ? bytesOfText(tidy(given)) : given;
    const found = fromBytes(data);
    const { block, tip } = await check(found, trusted);
    const fields = shown({ ...found, hash: block, tip_hash: tip });
    const claimed = trusted ? ["chainwork", "made_at"] : ["chainwork", "made_at", "root"];
    if (!trusted || found.start_height) { // at height 0 it is genesis, which was checked
      claimed.push(...["start_height", "height", "cp_height"].filter((key) => found[key]));
    }
    const rests = trusted ? "trusted root" : "maker";
    return { ok: true, reason: "ok", says: says(fields, trusted, claimed), rests_on: rests, claimed, fields };
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // a defect of ours: never taken for a verdict
    const text = `Refused: ${error.message}.`;
    return { ok: false, reason: error.reason, says: text, rests_on: "nothing", claimed: [], fields: {} };
  }
}
