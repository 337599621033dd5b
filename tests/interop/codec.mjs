// Frames of `/spvnode/<network>/headers/1` and `/proof/1`, written a second time from their description
// (p2p/mesh/codec.py) so that the two can disagree. Hashes and work are hex in internal byte order, headers and bundles
// are base64: every message is plain JSON.
import { byteStream } from 'it-byte-stream'

const TYPES = ['HELLO', 'GET_BY_LOCATOR', 'GET_RANGE', 'HEADERS', 'ERROR', 'ANNOUNCE', 'GET_PROOF', 'PROOF']

const u16 = (value) => { const out = Buffer.alloc(2); out.writeUInt16BE(value); return out }
const u32 = (value) => { const out = Buffer.alloc(4); out.writeUInt32BE(value); return out }
const unhex = (text) => Buffer.from(text, 'hex')
const unbase64 = (text) => Buffer.from(text, 'base64')

const PARTS = {
  HELLO: (m) => [u16(m.version), unhex(m.genesis), u32(m.base), u32(m.height), unhex(m.tip), unhex(m.work)],
  ANNOUNCE: (m) => PARTS.HELLO(m),
  GET_BY_LOCATOR: (m) => [u16(m.count), Buffer.of(m.locator.length), ...m.locator.map(unhex)],
  GET_RANGE: (m) => [u32(m.start), u16(m.count)],
  HEADERS: (m) => [u32(m.start), unbase64(m.headers)],
  ERROR: (m) => [Buffer.of(m.code), Buffer.from(m.text)],
  GET_PROOF: (m) => [u32(m.height), u32(m.cp_height)]
}

const READ = {
  HELLO: (p) => ({
    version: p.readUInt16BE(0),
    genesis: p.toString('hex', 2, 34),
    base: p.readUInt32BE(34),
    height: p.readUInt32BE(38),
    tip: p.toString('hex', 42, 74),
    work: p.toString('hex', 74, 106)
  }),
  ANNOUNCE: (p) => READ.HELLO(p),
  GET_BY_LOCATOR: (p) => ({ count: p.readUInt16BE(0), locator: p.toString('hex', 3).match(/.{64}/g) }),
  GET_RANGE: (p) => ({ start: p.readUInt32BE(0), count: p.readUInt16BE(4) }),
  HEADERS: (p) => ({ start: p.readUInt32BE(0), headers: p.toString('base64', 4) }),
  ERROR: (p) => ({ code: p[0], text: p.toString('utf8', 1) }),
  PROOF: (p) => ({ bundle: p.toString('base64') })
}

export function encode ({ type, id, ...message }) {
  const body = Buffer.concat([Buffer.of(TYPES.indexOf(type)), u32(id), ...PARTS[type](message)])
  return Buffer.concat([u32(body.length), body])
}

// One stream as messages.
export class Frames {
  constructor (stream) {
    this.stream = stream
    this.bytes = byteStream(stream)
  }

  async send (...messages) {
    await this.bytes.write(Buffer.concat(messages.map(encode)))
  }

  // The next message; throws when the stream ends.
  async receive () {
    const length = (await this.#exactly(4)).readUInt32BE(0)
    const body = await this.#exactly(length)
    const type = TYPES[body[0]]
    return { type, id: body.readUInt32BE(1), ...READ[type](body.subarray(5)) }
  }

  async #exactly (count) {
    return Buffer.from((await this.bytes.read({ bytes: count })).subarray())
  }
}
