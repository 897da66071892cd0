import { defineConfig } from 'vitest/config'

// The full counts, fault tables and soaks: the same rules as the ordinary tests, other files and more time.
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/long/**/*.test.ts'],
    fileParallelism: false,
    pool: 'forks',
    // of tests that wait for time to pass, and say that they are concurrent
    maxConcurrency: 20,
    testTimeout: 1_800_000,
    hookTimeout: 120_000,
  },
})
