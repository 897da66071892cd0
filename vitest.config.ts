import { defineConfig } from 'vitest/config'

// One file at a time: the tests share two cores, the kernel and its map memory, and measure latencies.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['dist/**', 'node_modules/**', 'test/long/**'],
    fileParallelism: false,
    pool: 'forks',
    // of tests that wait for time to pass, and say that they are concurrent
    maxConcurrency: 20,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default'],
  },
})
