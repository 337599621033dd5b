// One sync of Helios, an independent light client, from a Beacon API: node helios.mjs URL CHECKPOINT
// Answers with one line of JSON: the finalized root that it came to, or why it would not.
import { createHeliosProvider } from '@a16z/helios'

const [consensusRpc, checkpoint] = process.argv.slice(2)
const answer = (value) => process.stdout.write(JSON.stringify(value) + '\n', () => process.exit(0))
try {
  // Nothing listens on port 9: blocks and accounts are not asked for here, only consensus is.
  const config = { consensusRpc, executionRpc: 'http://127.0.0.1:9', checkpoint, network: 'mainnet', dbType: 'config' }
  const helios = await createHeliosProvider(config, 'ethereum')
  await helios.waitSynced()
  answer({ finalized: await helios.request({ method: 'helios_getCurrentCheckpoint', params: [] }) })
} catch (error) {
  answer({ refused: String(error) })
}
