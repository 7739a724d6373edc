/** What a starting project is made of: a path in it, and the text there. */
export function projectFiles(name: string, gatewayVersion: string): Readonly<Record<string, string>> {
  return {
    'package.json': `${JSON.stringify(
      {
        name,
        private: true,
        version: '0.0.0',
        type: 'module',
        engines: { node: '>=22.18' },
        scripts: { dev: 'gw dev', start: 'gw start', doctor: 'gw doctor', typecheck: 'tsc --noEmit' },
        dependencies: { '@gw/gateway': gatewayVersion },
        devDependencies: { '@types/node': '^24.0.0', typescript: '>=5.8' },
      },
      undefined,
      2,
    )}\n`,
    'tsconfig.json': `${JSON.stringify(
      {
        compilerOptions: {
          target: 'ES2022',
          module: 'NodeNext',
          strict: true,
          noEmit: true,
          allowImportingTsExtensions: true,
          erasableSyntaxOnly: true,
          verbatimModuleSyntax: true,
          skipLibCheck: true,
          types: ['node'],
        },
        include: ['src', 'gateway.config.ts'],
      },
      undefined,
      2,
    )}\n`,
    '.gitignore': 'node_modules/\ndata/\n.env\n',
    'gateway.config.ts': `import { defineGateway } from '@gw/gateway'

export default defineGateway({
  title: '${name}',
  app: './src/app.ts',
  // Bearer tokens by principal. Without them everyone is anonymous, which is for trying out only:
  // apiTokens: { alice: process.env['ALICE_TOKEN'] ?? '' },

  // Services behind the gateway need no code:
  // upstreams: { billing: { url: 'http://127.0.0.1:9000', breaker: { failureThreshold: 5, open: '30s' } } },
  // routes: [{ path: '/billing/*', upstream: 'billing', durable: true, idempotency: 'optional' }],
})
`,
    'src/app.ts': `import type { Gateway } from '@gw/gateway'

interface Order {
  readonly item: string
  readonly quantity: number
}

/** Adds the routes of this application. */
export function register(gateway: Gateway): void {
  // The request is stored before this handler runs, and each step when it is done: after a crash it goes on from the last one.
  gateway.post('/api/orders', gateway.durable({ operation: 'order', idempotency: 'optional' }), async (c) => {
    const order = orderOf(await c.req.json().catch(() => undefined))
    if (order === undefined) return c.json({ error: 'Expected { "item": "…", "quantity": 1 }' }, 400)
    const { run } = c.var
    const reserved = await run.step('reserve', () => reserve(order))
    await run.update({ stage: 'reserved', progress: 0.5 })
    // Give the key to whatever takes one, so that a repeated call there is one call too.
    const receipt = await run.step('confirm', ({ idempotencyKey }) => confirm(order, idempotencyKey))
    return c.json({ order: run.id, reserved, receipt }, 201)
  })
}

function orderOf(body: unknown): Order | undefined {
  const { item, quantity } = (typeof body === 'object' && body !== null ? body : {}) as Partial<Order>
  return typeof item === 'string' && Number.isInteger(quantity) && quantity! > 0 ? { item, quantity: quantity! } : undefined
}

async function reserve({ item, quantity }: Order): Promise<string> {
  return \`\${quantity} × \${item}\`
}

async function confirm({ item }: Order, idempotencyKey: string): Promise<string> {
  return \`\${item}/\${idempotencyKey.slice(0, 8)}\`
}
`,
    'README.md': `# ${name}

A [Durable Gateway](https://www.npmjs.com/package/@gw/gateway): requests that are not lost, do not run twice, and are accounted for.

\`\`\`sh
npm install
npm run dev
\`\`\`

The gateway is at http://127.0.0.1:8000, its dashboard at http://127.0.0.1:8001 with the token that the start prints. Try it, twice:

\`\`\`sh
curl -i http://127.0.0.1:8000/api/orders -H 'Idempotency-Key: order-1' \\
  -H 'Content-Type: application/json' -d '{"item":"lamp","quantity":2}'
\`\`\`

The second answer is the first one again, with \`Idempotent-Replayed: true\`: the handler ran once.

| | |
|---|---|
| \`src/app.ts\` | the routes |
| \`gateway.config.ts\` | everything else: \`npx gw config schema\` describes it |
| \`data/\` | the database: back it up with \`npx gw backup <folder>\` |
| \`npx gw requests ls\` | what ran, and what is under way |
| \`npx gw events verify\` | whether the audit trail is what was written |
| \`npx gw doctor\` | what is wrong, and how to mend it |

For production, set \`apiTokens\`, \`GW_ADMIN_TOKEN\`, and \`DATABASE_URL\` where there is more than one machine; run \`npm start\`.
`,
  }
}
