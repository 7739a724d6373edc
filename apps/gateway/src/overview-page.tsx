/** @jsxImportSource hono/jsx */
import type { healthOf } from './health.ts'

/** What the first page of the admin listener shows. */
export interface Overview {
  readonly title: string
  readonly health: ReturnType<typeof healthOf>
  readonly counts: Readonly<Record<string, number>>
  readonly recent: readonly {
    readonly id: string
    readonly operation: string
    readonly status: string
    readonly createdAt: number
  }[]
}

const style = `:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}
.wide{overflow-x:auto}code{font-size:.9em}`

/** One page, rendered on the server: is it well, and what is it doing. */
export function overviewPage({ title, health, counts, recent }: Overview) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>{title}</title>
        <style>{style}</style>
      </head>
      <body>
        <main>
          <h1>{title}</h1>
          <p>
            {health.status}, {health.phase}; storage {health.components.storage}
          </p>
          <h2>Requests by status</h2>
          <Pairs head={['Status', 'Requests']} rows={Object.entries(counts)} />
          <h2>Latest requests</h2>
          <div class="wide">
            <table>
              <thead>
                <tr>
                  <th scope="col">Request</th>
                  <th scope="col">Operation</th>
                  <th scope="col">Status</th>
                  <th scope="col">Accepted</th>
                </tr>
              </thead>
              <tbody>
                {recent.map(({ id, operation, status, createdAt }) => (
                  <tr>
                    <td>
                      <code>{id}</code>
                    </td>
                    <td>{operation}</td>
                    <td>{status}</td>
                    <td>{new Date(createdAt).toISOString()}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </main>
      </body>
    </html>
  )
}

function Pairs({
  head,
  rows,
}: {
  head: readonly [string, string]
  rows: readonly (readonly [string, string | number])[]
}) {
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">{head[0]}</th>
          <th scope="col">{head[1]}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, value]) => (
          <tr>
            <td>{name}</td>
            <td>{value}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
