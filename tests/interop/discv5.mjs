// A discv5 node of another make (ChainSafe's) that a test drives: one JSON command a line on stdin, one JSON answer a
// line on stdout. The argument is JSON: {host: IP address, fields: {key: hex}}, the fields being those of its record
// beside its address.
import { createInterface } from 'node:readline'
import { Discv5 } from '@chainsafe/discv5'
import { ENR, SignableENR } from '@chainsafe/enr'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { multiaddr } from '@multiformats/multiaddr'

const options = JSON.parse(process.argv[2])
const hex = (bytes) => Buffer.from(bytes).toString('hex')
const bytes = (text) => new Uint8Array(Buffer.from(text, 'hex'))

const fields = Object.entries(options.fields).map(([key, value]) => [key, bytes(value)])
const privateKey = await generateKeyPair('secp256k1')
const enr = SignableENR.createFromPrivateKey(privateKey, Object.fromEntries(fields))
const address = options.host.includes(':') ? { ip6: `/ip6/${options.host}/udp/` } : { ip4: `/ip4/${options.host}/udp/` }

// The package cannot say which port it got, so ports are tried until one is free.
async function start () {
  for (let tries = 0; ; tries++) {
    const port = 20_000 + Math.floor(Math.random() * 40_000)
    const bind = multiaddr((address.ip4 ?? address.ip6) + port)
    enr.setLocationMultiaddr(bind)
    const node = Discv5.create({
      enr,
      privateKey,
      bindAddrs: address.ip4 ? { ip4: bind } : { ip6: bind },
      // In a network of fewer than 16 its lookups end by their deadline only; a minute is too long for a test.
      config: { enrUpdate: false, lookupTimeout: 3000 }
    })
    try {
      await node.start()
      return node
    } catch (error) {
      if (tries === 20) throw error
    }
  }
}

const node = await start()
const talks = []
node.on('talkReqReceived', (from, _, { id, protocol, request }) => {
  talks.push({ protocol: Buffer.from(protocol).toString(), request: hex(request) })
  node.sendTalkResp(from, id, request)
})

const texts = (records) => records.map((record) => record.encodeTxt())
const commands = {
  id: () => ({ enr: node.enr.encodeTxt(), node: node.enr.nodeId, peer: node.enr.peerId.toString() }),
  // How it reads a record of ours.
  read: async ({ enr }) => {
    const record = ENR.decodeTxt(enr)
    const tcp = record.tcp ? await record.getFullMultiaddr('tcp') : await record.getFullMultiaddr('tcp6')
    return {
      node: record.nodeId,
      peer: record.peerId.toString(),
      seq: Number(record.seq),
      tcp: tcp?.toString() ?? null,
      eth2: hex(record.kvs.get('eth2') ?? [])
    }
  },
  add: ({ enr }) => { node.addEnr(enr); return null },
  ping: async ({ enr }) => {
    const { enrSeq, addr } = await node.sendPing(ENR.decodeTxt(enr))
    return { seq: Number(enrSeq), port: addr.port }
  },
  find: async ({ enr, distances }) => texts(await node.sendFindNode(ENR.decodeTxt(enr), distances)),
  talk: async ({ enr }) => hex(await node.sendTalkReq(ENR.decodeTxt(enr), bytes('0102'), 'nothing')),
  lookup: async ({ target }) => texts(await node.findNode(target)),
  known: () => texts(node.kadValues())
}

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line)
  let answer
  try {
    answer = { result: await commands[told.command](told) }
  } catch (error) {
    answer = { error: error.message }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
await node.stop()
