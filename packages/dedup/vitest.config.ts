import { defineConfig } from 'vitest/config'

export default defineConfig({
  ssr: { resolve: { conditions: ['@gw/source', 'module', 'node'] } },
  // The tests of faults mostly wait: others run beside them.
  test: { include: ['test/**/*.test.ts'], maxWorkers: 2 },
})
