import { pathToFileURL } from 'node:url'

// Runs a documented program that would go on for ever until its top level is through, asks the app that it exports once, and ends.
const { default: app } = (await import(pathToFileURL(process.argv[2]!).href)) as { default?: { fetch?: unknown } }
if (typeof app?.fetch === 'function') {
  const response = (await app.fetch(new Request('http://127.0.0.1/'))) as Response
  if (response.status >= 500) throw new Error(`The app answers ${response.status}`)
}
process.exit(0)
