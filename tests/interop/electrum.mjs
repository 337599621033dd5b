// mempool's Electrum client against a server: electrum.mjs PORT. Prints one JSON line, then one for each notification,
// until its stdin ends.
import ElectrumClient from "@mempool/electrum-client";

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const client = new ElectrumClient(Number(process.argv[2]), "127.0.0.1", "tcp", null, { onLog: () => {} });
const refused = async (asked) => asked.then(() => null, (error) => error);

await client.initElectrum({ client: "interop", version: ["1.4", "1.6"] }, { retryPeriod: 0, maxRetry: 0, pingPeriod: 60000 });
client.subscribe.on("blockchain.headers.subscribe", (params) => say({ told: params }));
say({
  version: client.versionInfo,
  tip: await client.blockchainHeaders_subscribe(),
  features: await client.server_features(),
  banner: await client.server_banner(),
  peers: await client.serverPeers_subscribe(),
  proof: await client.request("blockchain.block.header", [5, 8]),
  headers: await client.request("blockchain.block.headers", [100, 3]),
  batch: await client.requestBatch("blockchain.block.header", [0, 1, 2]),
  fee: await refused(client.blockchainEstimatefee(6)),
  merkle: await refused(client.blockchainTransaction_getMerkle("00".repeat(32), 5)),
  history: await refused(client.blockchainScripthash_getHistory("00".repeat(32))),
});
process.stdin.resume();
process.stdin.on("end", () => {
  client.close();
  process.exit(0);
});
