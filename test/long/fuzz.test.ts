// The full form of test/agent/capture/fuzz.test.ts: twenty thousand rounds.

process.env.VETHFLOW_FUZZ_ROUNDS = '20000'
await import('../agent/capture/fuzz.test.js')
