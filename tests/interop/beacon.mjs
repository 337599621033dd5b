// A beacon node to the eye of a light client, made of Lodestar's own packages: Req/Resp with its framing, snappy and
// rate limits (@lodestar/reqresp), SSZ types (@lodestar/types), fork digests (@lodestar/config). It has what a test gives
// it, and misbehaves where it is told to.
import { createHash } from 'node:crypto'
import { chainConfigFromJson, createBeaconConfig } from '@lodestar/config'
import { mainnetChainConfig } from '@lodestar/config/configs'
import { ContextBytesType, EncodedPayloadType, ReqResp, ReqRespEncoding, ResponseError, RespStatus } from '@lodestar/reqresp'
import { ssz } from '@lodestar/types'
import { peerIdFromString } from '@libp2p/peer-id'
import snappy from 'snappy'

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const unhex = (text) => Buffer.from(text, 'hex')
const base64 = (bytes) => Buffer.from(bytes).toString('base64')
const unbase64 = (text) => Buffer.from(text, 'base64')
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

// Requests that one peer may make in so many seconds: what Lodestar grants. `count`: what a request is worth.
const quota = (quota, seconds, count) => ({ byPeer: { quota, quotaTimeMs: 1000 * seconds }, getRequestCount: count })
const PROTOCOLS = [
  { name: 'status/1', request: ssz.phase0.Status, response: ssz.phase0.Status, limits: quota(5, 15) },
  { name: 'status/2', request: ssz.fulu.Status, response: ssz.fulu.Status, limits: quota(5, 15) },
  { name: 'metadata/1', request: null, response: ssz.phase0.Metadata, limits: quota(2, 5) },
  { name: 'metadata/2', request: null, response: ssz.altair.Metadata, limits: quota(2, 5) },
  { name: 'metadata/3', request: null, response: ssz.fulu.Metadata, limits: quota(2, 5) },
  { name: 'ping/1', request: ssz.phase0.Ping, response: ssz.phase0.Ping, limits: quota(2, 10) },
  { name: 'goodbye/1', request: ssz.phase0.Goodbye, response: ssz.phase0.Goodbye, limits: quota(1, 10) },
  { name: 'light_client_bootstrap/1', request: ssz.Root, response: 'LightClientBootstrap', limits: quota(5, 15) },
  {
    name: 'light_client_updates_by_range/1',
    request: ssz.altair.LightClientUpdatesByRange,
    response: 'LightClientUpdate',
    limits: quota(128, 10, ({ count }) => count)
  },
  { name: 'light_client_finality_update/1', request: null, response: 'LightClientFinalityUpdate', limits: quota(2, 12) },
  { name: 'light_client_optimistic_update/1', request: null, response: 'LightClientOptimisticUpdate', limits: quota(2, 12) }
]
const GOSSIPED = { finality: 'LightClientFinalityUpdate', optimistic: 'LightClientOptimisticUpdate' }

// What the node is: {network: "mainnet" or the JSON of a config.yaml, root: genesis validators root, genesis: Unix
// seconds, without: [names of protocols it lacks]}.
export class Beacon {
  asked = []
  #node
  #reqresp
  #config
  #epochSlots
  #genesis
  #without
  // What it has, and what it does wrong: see `have` and `wrong`.
  #has = { bootstraps: {}, updates: {}, finality: null, optimistic: null, status: {}, metadata: {} }
  #wrong = { digests: {}, statusDigest: null, cut: null }

  constructor ({ network, root, genesis, without }) {
    const chain = network === 'mainnet' ? mainnetChainConfig : chainConfigFromJson(network)
    this.#config = createBeaconConfig(chain, unhex(root))
    this.#epochSlots = chain.PRESET_BASE === 'minimal' ? 8 : 32
    this.#genesis = genesis
    this.#without = without ?? []
  }

  async start (node) {
    this.#node = node
    const quiet = () => {}
    // The package is older than the node: streams told their protocol in `stat`, and `close` could not fail.
    const aged = (stream) => {
      const close = stream.close.bind(stream)
      return Object.assign(stream, { stat: { protocol: stream.protocol }, close: () => close().catch(quiet) })
    }
    const libp2p = {
      handle: (id, handler) => node.handle(id, ({ connection, stream }) => handler({ connection, stream: aged(stream) })),
      dialProtocol: async (peer, ids, options) => aged(await node.dialProtocol(peer, ids, options))
    }
    this.#reqresp = new ReqResp({ libp2p, logger: { debug: quiet, verbose: quiet, error: quiet } })
    await this.#reqresp.start()
    for (const protocol of PROTOCOLS) {
      if (!this.#without.includes(protocol.name)) await this.#reqresp.registerProtocol(this.#made(protocol))
    }
  }

  commands = {
    // What it has from now on: {bootstraps: {root: object}, updates: {period: object}, finality, optimistic} with
    // objects as {digest, ssz}; fields of `status` and `metadata` as the Beacon API writes them.
    have: (given) => {
      for (const [what, value] of Object.entries(given)) {
        this.#has[what] = value.ssz === undefined ? { ...this.#has[what], ...value } : value
      }
      for (const one of this.#objects()) this.#check(one)
    },
    // What it does wrong: {digests: {method: context of its chunks}, statusDigest, cut: {after: chunks, text}}.
    wrong: (given) => { Object.assign(this.#wrong, given) },
    asked: () => this.asked,
    ask: async ({ peer, name, body }) => await this.#ask(peer, name, body),
    gossip: async ({ name, digest, data }) => {
      const packed = await snappy.compress(unbase64(data))
      return (await this.#node.services.gossip.publish(topic(digest, name), packed)).recipients.map(String)
    },
    join: ({ digest }) => { for (const name in GOSSIPED) this.#node.services.gossip.subscribe(topic(digest, name)) },
    digest: () => this.#digestNow(),
    slot: () => this.#slotNow()
  }

  // altair/p2p-interface.md, "Topics and messages", what is decompressed and what cannot be.
  messageId = ({ topic, data }) => {
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(topic.length))
    let [domain, content] = [unhex('00000000'), data]
    try {
      [domain, content] = [unhex('01000000'), snappy.uncompressSync(Buffer.from(data))]
    } catch {}
    return sha256(domain, length, topic, content).subarray(0, 20)
  }

  // An object of gossip, decompressed and read.
  read = ({ topic, data }) => {
    const [, , digest, name] = topic.split('/')
    const bytes = snappy.uncompressSync(Buffer.from(data))
    const type = this.#type(digest, GOSSIPED[name.split('_')[2]])
    return { digest, ssz: base64(type.serialize(type.deserialize(bytes))) }
  }

  #made ({ name, request, response, limits }) {
    const [method, version] = [name.split('/')[0], Number(name.split('/')[1])]
    const context = typeof response === 'string'
    return {
      method,
      version,
      encoding: ReqRespEncoding.SSZ_SNAPPY,
      requestType: () => request,
      responseType: (digest) => {
        const type = context ? this.#type(digest, response) : response
        const read = (bytes) => ({ version, digest: context ? digest : '', value: context ? null : type.toJson(type.deserialize(bytes)), ssz: base64(type.serialize(type.deserialize(bytes))) })
        return { minSize: type.minSize, maxSize: type.maxSize, deserialize: read }
      },
      contextBytes: context ? contextBytes : { type: ContextBytesType.Empty },
      inboundRateLimits: limits,
      ignoreResponse: method === 'goodbye',
      handler: (body, peer) => this.#answer(method, version, body, peer, request, response)
    }
  }

  async * #answer (method, version, body, peer, request, response) {
    const said = request === null ? null : request.toJson(body)
    this.asked.push({ method, version, peer: peer.toString(), body: said })
    if (method === 'status') yield plain(response.serialize(this.#status(response)))
    else if (method === 'metadata') yield plain(response.serialize(this.#metadata(response)))
    else if (method === 'ping' || method === 'goodbye') yield plain(response.serialize(body))
    else if (method === 'light_client_updates_by_range') yield * this.#updates(method, body)
    else {
      const found = { light_client_finality_update: this.#has.finality, light_client_optimistic_update: this.#has.optimistic }
      yield this.#chunk(method, method === 'light_client_bootstrap' ? this.#has.bootstraps[hex(body)] : found[method])
    }
  }

  // As Lodestar: up to the first that it lacks, and then an error chunk (its answer beyond the head, too).
  async * #updates (method, { startPeriod, count }) {
    const { cut } = this.#wrong
    for (let period = startPeriod; period < startPeriod + count; period++) {
      if (cut !== null && period - startPeriod >= cut.after) throw new ResponseError(RespStatus.SERVER_ERROR, cut.text)
      const found = this.#has.updates[period]
      if (found === undefined) throw new ResponseError(RespStatus.SERVER_ERROR, `No partialUpdate available for period ${period}`)
      yield this.#chunk(method, found)
    }
  }

  #chunk (method, found) {
    if (!found) throw new ResponseError(RespStatus.RESOURCE_UNAVAILABLE, 'not available')
    const bytes = unbase64(found.ssz)
    return { type: EncodedPayloadType.bytes, bytes, contextBytes: { ...contextBytes, forkSlot: this.#wrong.digests[method] ?? found.digest } }
  }

  async #ask (peer, name, body) {
    const protocol = PROTOCOLS.find((one) => one.name === name)
    const [method, version] = name.split('/')
    const said = body == null ? null : protocol.request.fromJson(body)
    const chunks = []
    try {
      const asking = this.#reqresp.sendRequest(peerIdFromString(peer), method, [Number(version)], ReqRespEncoding.SSZ_SNAPPY, said)
      for await (const chunk of asking) chunks.push(chunk)
    } catch (error) {
      return { chunks, error: error.type ?? `${error.name}: ${error.message}` }
    }
    return { chunks, error: null }
  }

  #status (type) {
    return type.fromJson({ earliest_available_slot: '0', ...this.#has.status, fork_digest: this.#wrong.statusDigest ?? this.#digestNow() })
  }

  #metadata (type) {
    return type.fromJson({ ...type.toJson(type.defaultValue()), ...this.#has.metadata })
  }

  #slotNow () {
    return Math.floor((Date.now() - this.#genesis * 1000) / this.#config.SLOT_DURATION_MS)
  }

  #digestNow () {
    return this.#digestAt(Math.floor(this.#slotNow() / this.#epochSlots))
  }

  #digestAt (epoch) {
    return hex(this.#config.forkBoundary2ForkDigest(this.#config.getForkBoundaryAtEpoch(epoch)))
  }

  #type (digest, name) {
    return ssz[this.#config.forkDigest2ForkBoundary(unhex(digest)).fork][name]
  }

  * #objects () {
    for (const one of Object.values(this.#has.bootstraps)) yield [one, 'LightClientBootstrap', 'header']
    for (const one of Object.values(this.#has.updates)) yield [one, 'LightClientUpdate', 'attestedHeader']
    if (this.#has.finality) yield [this.#has.finality, 'LightClientFinalityUpdate', 'attestedHeader']
    if (this.#has.optimistic) yield [this.#has.optimistic, 'LightClientOptimisticUpdate', 'attestedHeader']
  }

  // What is recorded is what Lodestar calls it.
  #check ([one, name, header]) {
    const type = this.#type(one.digest, name)
    const value = type.deserialize(unbase64(one.ssz))
    const digest = this.#digestAt(Math.floor(value[header].beacon.slot / this.#epochSlots))
    if (digest !== one.digest) throw new Error(`${name} is of ${digest}, not of ${one.digest}`)
  }
}

// The package asks for a fork by slot and for a digest by fork; here the digest is told through all three.
const contextBytes = {
  type: ContextBytesType.ForkDigest,
  forkDigestContext: { getForkName: (digest) => digest, forkName2ForkDigest: unhex, forkDigest2ForkName: hex }
}
const plain = (bytes) => ({ type: EncodedPayloadType.bytes, bytes: Buffer.from(bytes), contextBytes: { type: ContextBytesType.Empty } })
const topic = (digest, name) => `/eth2/${digest}/light_client_${name}_update/ssz_snappy`
