// A js-libp2p peer that a test drives: one JSON command a line on stdin, one JSON answer a line on stdout. The
// argument is JSON: {key: "Ed25519" | "secp256k1", topics: [...], lazy: bool, quiet: bool, muxer: "yamux" | "mplex",
// ids: "mesh" | "altair", port: number, secret: hex of a secp256k1 key, beacon: see beacon.mjs}.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { gossipsub } from '@chainsafe/libp2p-gossipsub'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { generateKeyPair, privateKeyFromRaw } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { mplex } from '@libp2p/mplex'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { byteStream } from 'it-byte-stream'
import { createLibp2p } from 'libp2p'
import { Chain, Session } from './sessions.mjs'

// js-libp2p's dependencies use it, and Node.js 20 lacks it (ECMAScript 2024).
Promise.withResolvers ??= function () {
  const made = {}
  made.promise = new this((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const DEADLINE = 30_000 // milliseconds for one command
const options = JSON.parse(process.argv[2])

// SHA-256(topic "|" data), its first 20 bytes.
const meshId = ({ topic, data }) => createHash('sha256').update(`${topic}|`).update(data).digest().subarray(0, 20)
// As the beacon chain names a message that is compressed: a domain, the topic's length, topic and data.
const altairId = ({ topic, data }) => {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(topic.length))
  return createHash('sha256').update(Buffer.from('01000000', 'hex')).update(length).update(topic).update(data).digest().subarray(0, 20)
}

const beacon = options.beacon ? new (await import('./beacon.mjs')).Beacon(options.beacon) : null
const privateKey = options.secret ? privateKeyFromRaw(Buffer.from(options.secret, 'hex')) : await generateKeyPair(options.key)

const node = await createLibp2p({
  privateKey,
  addresses: { listen: [`/ip4/127.0.0.1/tcp/${options.port}`] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  // A quiet peer sends nothing unasked, so that it is our pings that have to keep its connection.
  streamMuxers: [options.muxer === 'mplex' ? mplex() : yamux({ enableKeepAlive: !options.quiet })],
  connectionMonitor: { enabled: !options.quiet },
  services: {
    identify: identify(),
    push: identifyPush(),
    ping: ping(),
    gossip: gossipsub({
      globalSignaturePolicy: 'StrictNoSign',
      msgIdFn: beacon?.messageId ?? (options.ids === 'altair' ? altairId : meshId),
      allowPublishToZeroTopicPeers: true,
      // A lazy peer lets nobody who dialed it into its mesh: it hears and tells by IHAVE and IWANT only.
      ...(options.lazy ? { D: 0, Dlo: 0, Dhi: 0, Dout: 0, Dscore: 0 } : {})
    })
  }
})

const { gossip } = node.services
const heard = []
const controls = { grafts: 0, offered: [] }
gossip.addEventListener('gossipsub:message', ({ detail: { propagationSource, msgId, msg } }) => {
  heard.push({ from: propagationSource.toString(), id: msgId, kind: msg.type, topic: msg.topic, data: base64(msg.data) })
})
const handle = gossip.handleReceivedRpc.bind(gossip)
gossip.handleReceivedRpc = async (from, rpc) => {
  controls.grafts += rpc.control?.graft.length ?? 0
  for (const { messageIDs } of rpc.control?.ihave ?? []) controls.offered.push(...messageIDs.map((id) => Buffer.from(id).toString('hex')))
  await handle(from, rpc)
}
if (options.lazy) {
  gossip.selectPeersToPublish = () => ({ tosend: new Set(), tosendCount: { direct: 0, floodsub: 0, mesh: 0, fanout: 0 } })
}
for (const topic of options.topics) gossip.subscribe(topic)

const base64 = (data) => Buffer.from(data.subarray()).toString('base64')
const connection = (peer) => node.getConnections().find(({ remotePeer }) => remotePeer.toString() === peer)
const open = async (peer, protocol) => await connection(peer).newStream(protocol)
const chains = new Map()
const sessions = new Map()

const commands = {
  id: () => ({ peer: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) }),

  dial: async ({ addr }) => (await node.dial(multiaddr(addr))).remotePeer.toString(),

  hangup: async ({ peer }) => await node.hangUp(connection(peer).remotePeer),

  connections: () => node.getConnections().map((one) => ({
    peer: one.remotePeer.toString(),
    addr: one.remoteAddr.toString(),
    direction: one.direction,
    encryption: one.encryption,
    multiplexer: one.multiplexer,
    opened: one.timeline.open
  })),

  identify: async ({ peer }) => {
    const said = await node.services.identify.identify(connection(peer))
    return {
      peer: said.peerId.toString(),
      protocol: said.protocolVersion,
      agent: said.agentVersion,
      protocols: said.protocols,
      listens: said.listenAddrs.map(String),
      observed: String(said.observedAddr)
    }
  },

  ping: async ({ peer }) => await node.services.ping.ping(connection(peer).remotePeer),

  // Headers and proofs, asked.
  session: async ({ peer, network, hello }) => {
    const session = await Session.open(await open(peer, `/spvnode/${network}/headers/1`), hello)
    sessions.set(network, session)
    return session.hello
  },
  ask: async ({ network, requests }) => await sessions.get(network).ask(requests),
  announced: ({ network }) => sessions.get(network).announced,
  ended: ({ network }) => sessions.get(network).ended,
  prove: async ({ peer, network, requests }) => {
    const session = await Session.open(await open(peer, `/spvnode/${network}/proof/1`), null)
    return await session.ask(requests)
  },

  // Headers, served.
  serve: async ({ network, file, claim }) => {
    const chain = new Chain(readFileSync(file), claim)
    chains.set(network, chain)
    await node.handle(`/spvnode/${network}/headers/1`, ({ stream }) => chain.serve(stream))
    return chain.hello
  },
  served: ({ network }) => ({ hellos: chains.get(network).hellos, requests: chains.get(network).requests }),

  // Gossip.
  mesh: ({ topic }) => gossip.getMeshPeers(topic),
  publish: async ({ topic, data }) => (await gossip.publish(topic, Buffer.from(data, 'base64'))).recipients.map(String),
  heard: () => heard,
  controls: () => controls,

  // Any bytes on a stream that we open: what comes back until the other side ends it, and how it ends.
  say: async ({ peer, protocol, data }) => {
    const stream = await open(peer, protocol)
    const bytes = byteStream(stream)
    const said = []
    let end = 'closed'
    try {
      await bytes.write(Buffer.from(data, 'base64'))
      for (let part; (part = await bytes.read()) !== null;) said.push(part.subarray())
      await stream.close()
    } catch (error) {
      end = error.name
    }
    return { said: base64(Buffer.concat(said)), end }
  },
  // A request that ends before its response begins, asked and answered: the response is the request, many times.
  request: async ({ peer, protocol, data }) => {
    const stream = await open(peer, protocol)
    const bytes = byteStream(stream)
    await bytes.write(Buffer.from(data, 'base64'))
    await stream.closeWrite()
    return base64(await toEnd(bytes))
  },
  respond: async ({ protocol, times }) => {
    await node.handle(protocol, async ({ stream }) => {
      const bytes = byteStream(stream)
      const asked = await toEnd(bytes)
      for (let left = times; left > 0; left--) await bytes.write(asked)
      await stream.close()
    })
  },
  // Any bytes on each stream that the other side opens.
  babble: async ({ protocol, data }) => {
    const answer = async ({ stream }) => await byteStream(stream).write(Buffer.from(data, 'base64'))
    await node.handle(protocol, answer, { force: true })
  }
}

if (beacon) {
  await beacon.start(node)
  Object.assign(commands, beacon.commands)
  commands.read = ({ topic }) => heard.filter((one) => one.topic === topic).map((one) => beacon.read({ topic, data: Buffer.from(one.data, 'base64') }))
}

async function toEnd (bytes) {
  const parts = []
  for (let part; (part = await bytes.read()) !== null;) parts.push(part.subarray())
  return Buffer.concat(parts)
}

function timeout () {
  return new Promise((resolve, reject) => setTimeout(reject, DEADLINE, new Error(`nothing within ${DEADLINE} ms`)).unref())
}

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line)
  let answer
  try {
    answer = { result: (await Promise.race([commands[command](given), timeout()])) ?? null }
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
process.exit(0) // no goodbye: `hangup` says one
