#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { type ConformanceTarget, checkConformance, conformanceTable } from '../conformance/index.ts'

const usage = `dedup conformance --url <url> --path <path> --body <json> [options]

Holds any HTTP server to the Idempotency-Key draft and to the contract of @gw/dedup.

  --url            where the server is: http://127.0.0.1:8000
  --path           an operation that takes keys, and answers with something new each time it runs
  --body           a JSON object that the operation accepts
  --method         POST
  --header         a field of every request, name:value; may be repeated
  --other-header   the same for another principal, whose keys must be apart
  --slow-path      an operation like the first that takes about a second
  --required-path  an operation that refuses requests without a key
  --get-path       an operation by GET
  --case           only this case; may be repeated
  --json           prints the report as JSON

Exit code: 0 when every case that ran was kept, 1 when one was broken, 2 when it was called wrongly.
`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: 'string' },
      path: { type: 'string' },
      body: { type: 'string' },
      method: { type: 'string' },
      header: { type: 'string', multiple: true },
      'other-header': { type: 'string', multiple: true },
      'slow-path': { type: 'string' },
      'required-path': { type: 'string' },
      'get-path': { type: 'string' },
      case: { type: 'string', multiple: true },
      json: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  if (values.help === true) {
    process.stdout.write(usage)
    return 0
  }
  const { url, path, body, method } = values
  if (positionals[0] !== 'conformance' || url === undefined || path === undefined || body === undefined) {
    process.stderr.write(usage)
    return 2
  }
  const target: ConformanceTarget = {
    url,
    path,
    body,
    ...(method === undefined ? {} : { method }),
    ...(values.header === undefined ? {} : { headers: fieldsOf(values.header) }),
    ...(values['other-header'] === undefined ? {} : { otherHeaders: fieldsOf(values['other-header']) }),
    ...(values['slow-path'] === undefined ? {} : { slowPath: values['slow-path'] }),
    ...(values['required-path'] === undefined ? {} : { requiredPath: values['required-path'] }),
    ...(values.case === undefined ? {} : { cases: values.case }),
    ...(values['get-path'] === undefined ? {} : { getPath: values['get-path'] }),
  }
  const report = await checkConformance(target)
  process.stdout.write(`${values.json === true ? JSON.stringify(report, undefined, 2) : conformanceTable(report)}\n`)
  return report.failed === 0 ? 0 : 1
}

function fieldsOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':')
      if (colon < 1) throw new Error(`Expected a field as name:value, got \`${line}\``)
      return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()]
    }),
  )
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 2
}
