import { defineConfig } from 'vitest/config'

export default defineConfig({
  ssr: { resolve: { conditions: ['@gw/source', 'module', 'node'] } },
  test: { include: ['test/**/*.test.ts'], testTimeout: 60_000 },
})
