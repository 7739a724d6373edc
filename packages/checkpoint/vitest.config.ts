import { defineConfig } from 'vitest/config'

export default defineConfig({
  ssr: { resolve: { conditions: ['@gw/source', 'module', 'node'] } },
  // Limits for a machine that has much else to do: what comes by itself comes, and nothing waits longer than it takes.
  test: {
    include: ['test/**/*.test.ts'],
    // The tests of faults mostly wait: others run beside them.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
  },
})
