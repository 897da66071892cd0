// The full form of test/e2e/flood.test.ts: 30 seconds.

process.env.VETHFLOW_FLOOD_SECONDS = '30'
await import('../e2e/flood.test.js')
