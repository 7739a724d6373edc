import type { Line, TypeTables } from './line.ts'

type Parse = (text: string) => unknown
type Serialize = (value: unknown) => unknown

/**
 * Teaches the tables the array types of a database, so that an array parameter is sent as an array of the type that the server
 * expects. postgres.js can do that by itself, but a connection that breaks meanwhile ends the process by an unhandled rejection.
 */
export async function fetchArrayTypes(line: Line, { parsers, serializers }: TypeTables): Promise<void> {
  const types = await line.send(
    `select b.oid::int as oid, b.typarray::int as array_oid from pg_catalog.pg_type a
     join pg_catalog.pg_type b on b.oid = a.typelem where a.typcategory = 'A' and b.typarray <> 0 group by 1, 2`,
  )
  for (const { oid, array_oid } of types) {
    const [of, as] = [Number(oid), Number(array_oid)]
    const parse = parsers[of] as Parse | undefined
    const serialize = serializers[of] as Serialize | undefined
    serializers[as] = (value: unknown) => arrayText(value, serialize)
    // postgres.js passes the text without its first brace to a parser that says `array`; plain functions get all of it.
    parsers[as] = (text: string) => parseArray(text, parse)
  }
}

/** An array in the text form of PostgreSQL. */
export function arrayText(value: unknown, serialize?: Serialize): unknown {
  if (!Array.isArray(value)) return value
  const elements = value.map((element: unknown) => {
    if (element === null || element === undefined) return 'null'
    if (Array.isArray(element)) return arrayText(element, serialize)
    const text = String(serialize === undefined ? element : serialize(element))
    return `"${text.replace(/[\\"]/g, '\\$&')}"`
  })
  return `{${elements.join(',')}}`
}

/** Reads the text form of PostgreSQL, without bounds other than 1. */
export function parseArray(text: string, parse: Parse = (element) => element): unknown[] {
  const stack: unknown[][] = []
  const token = /\{|\}|,|"((?:[^"\\]|\\.)*)"|([^{},"]+)/gsu
  let result: unknown[] = []
  for (const [all, quoted, bare] of text.matchAll(token)) {
    if (all === '{') stack.push([])
    else if (all === '}') {
      result = stack.pop()!
      stack.at(-1)?.push(result)
    } else if (quoted !== undefined) stack.at(-1)?.push(parse(quoted.replace(/\\(.)/gsu, '$1')))
    else if (bare !== undefined) stack.at(-1)?.push(bare === 'NULL' ? null : parse(bare))
  }
  return result
}
