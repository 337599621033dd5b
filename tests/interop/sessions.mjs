// Both sides of a stream: the one who asks, and the one who has headers and answers.
import { createHash } from 'node:crypto'
import { Frames } from './codec.mjs'

const HEADER = 80
const sha256 = (data) => createHash('sha256').update(data).digest()

// Asks; answers are matched by request id, announcements kept.
export class Session {
  #frames
  #waiting = new Map()
  #lastId = 0
  announced = []
  ended = null

  // `hello` is null on a proof stream, which has none.
  static async open (stream, hello) {
    const session = new Session()
    session.#frames = new Frames(stream)
    if (hello !== null) {
      await session.#frames.send({ type: 'HELLO', id: 0, ...hello })
      session.hello = await session.#frames.receive()
    }
    session.#read()
    return session
  }

  // All requests leave in one write, before any answer is read.
  async ask (requests) {
    const answers = requests.map((request) => {
      request.id = ++this.#lastId
      return new Promise((resolve, reject) => this.#waiting.set(request.id, { resolve, reject }))
    })
    await this.#frames.send(...requests)
    return await Promise.all(answers)
  }

  async #read () {
    try {
      while (true) {
        const message = await this.#frames.receive()
        if (message.type === 'ANNOUNCE') {
          this.announced.push(message)
        } else {
          this.#waiting.get(message.id).resolve(message)
          this.#waiting.delete(message.id)
        }
      }
    } catch (error) {
      this.ended = error.name
      for (const { reject } of this.#waiting.values()) reject(error)
    }
  }
}

// A chain held in memory, from genesis; `claim` replaces fields of an honest hello.
export class Chain {
  requests = []
  hellos = []
  #raw
  #heights = new Map()

  constructor (raw, claim) {
    this.#raw = raw
    let hash
    for (let height = 0; height * HEADER < raw.length; height++) {
      hash = sha256(sha256(raw.subarray(height * HEADER, (height + 1) * HEADER))).toString('hex')
      this.#heights.set(hash, height)
    }
    const [genesis] = this.#heights.keys()
    this.hello = { version: 1, genesis, base: 0, height: this.#heights.size - 1, tip: hash, work: '0'.repeat(64), ...claim }
  }

  async serve (stream) {
    const frames = new Frames(stream)
    try {
      this.hellos.push(await frames.receive())
      await frames.send({ type: 'HELLO', id: 0, ...this.hello })
      while (true) await frames.send(this.#answer(await frames.receive()))
    } catch (error) {
      await stream.close()
    }
  }

  #answer (request) {
    this.requests.push(request)
    const { id, count } = request
    const start = request.type === 'GET_RANGE' ? request.start : this.#after(request.locator)
    const headers = this.#raw.subarray(start * HEADER, (start + count) * HEADER).toString('base64')
    return { type: 'HEADERS', id, start, headers }
  }

  #after (locator) {
    return this.#heights.get(locator.find((hash) => this.#heights.has(hash))) + 1
  }
}
