// A light client of headers: bcoin's peer brings them, bcoin's chain checks their links, work and targets.
// node headers.js HOST:PORT; one JSON line an event; "block HASH" asks for a block; the end of the input ends it.
'use strict';

const readline = require('readline');
const {Chain, InvItem, Network, Peer, packets} = require('bcoin');
const NetAddress = require('bcoin/lib/net/netaddress');
const {NETWORK} = require('bcoin/lib/net/common').services;
const {VERIFY_POW} = require('bcoin/lib/blockchain/common').flags;

const network = Network.get('regtest');
const FULL = 2000; // headers of a message behind which there are more
const reversed = hash => Buffer.from(hash, 'hex').reverse().toString('hex');
const tell = (event, more) => console.log(JSON.stringify({event, ...more}));

class HeaderPeer extends Peer {
  // bcoin hangs up on whom it dialed and who has no blocks for it. This client wants none.
  async handleVersion(packet) {
    const {agent, version, height, services} = packet;
    tell('version', {agent, version, height, services});
    packet.services |= NETWORK;
    return super.handleVersion(packet);
  }
}

async function ask(chain, peer) {
  peer.sendGetHeaders(await chain.getLocator(), null);
}

async function headers(chain, peer, items) {
  for (const item of items) {
    if (!await chain.hasEntry(item.hash('hex')))
      await chain.add(item, VERIFY_POW);
  }
  tell('headers', {count: items.length, height: chain.height, hash: chain.tip.rhash()});
  // After a reorganization its chain stands where the branches part, and wants the new one again.
  const last = items[items.length - 1];
  if (items.length === FULL || (last && chain.tip.hash !== last.hash('hex')))
    await ask(chain, peer);
}

async function announced(chain, peer, items) {
  for (const item of items) {
    if (item.isBlock() && !await chain.hasEntry(item.hash)) {
      tell('inv', {hash: item.rhash()});
      await ask(chain, peer);
    }
  }
}

async function take(chain, peer, packet) {
  switch (packet.type) {
    case packets.types.HEADERS:
      return headers(chain, peer, packet.items);
    case packets.types.INV:
      return announced(chain, peer, packet.items);
    case packets.types.NOTFOUND:
      return packet.items.forEach(item => tell('notfound', {hash: item.rhash()}));
  }
}

async function main(address) {
  const chain = new Chain({network, memory: true, spv: true});
  await chain.open();
  const options = {network, headers: true, hasWitness: () => false, agent: '/headers:1.0/'};
  const peer = HeaderPeer.fromOptions(options);
  let leaving = false;
  let turn = Promise.resolve();
  const refuse = (error) => {
    tell('refused', {why: error.message});
    peer.destroy();
  };
  peer.connect(NetAddress.fromHostname(address, network));
  peer.on('packet', (packet) => {
    turn = turn.then(() => take(chain, peer, packet)).catch(refuse); // one after the other
  });
  peer.on('error', error => leaving || tell('problem', {why: error.message}));
  peer.on('close', () => leaving || tell('gone', {}));
  const lines = readline.createInterface({input: process.stdin});
  lines.on('line', (line) => {
    const wanted = new InvItem(InvItem.types.BLOCK, reversed(line.split(' ')[1]));
    peer.send(new packets.GetDataPacket([wanted]));
  });
  lines.on('close', () => {
    leaving = true;
    peer.destroy();
    process.exit(0);
  });
  await peer.open();
  await ask(chain, peer);
}

main(process.argv[2]).catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
