import type { Sql } from 'postgres'

type Parse = (text: string) => unknown
type Serialize = (value: unknown) => unknown

/** The tables by which a postgres.js client reads and writes types. */
interface TypeTables {
  readonly parsers: Record<number, Parse | undefined>
  readonly serializers: Record<number, Serialize | undefined>
  readonly shared: { readonly typeArrayMap: Record<number, number> }
}

/** The type of an array, and that of its elements. */
export interface ArrayType {
  readonly elements: number
  readonly array: number
}

/**
 * The array types of a database. postgres.js asks for them by itself, but a connection that breaks meanwhile ends the process by a
 * rejection that nobody can catch.
 */
export async function arrayTypesOf(sql: Sql): Promise<readonly ArrayType[]> {
  return [
    ...(await sql.unsafe<ArrayType[]>(
      `SELECT b.oid::int AS elements, b.typarray::int AS array FROM pg_catalog.pg_type a
       JOIN pg_catalog.pg_type b ON b.oid = a.typelem WHERE a.typcategory = 'A' AND b.typarray <> 0 GROUP BY 1, 2`,
    )),
  ]
}

/** Teaches a client to read and write arrays, as its own fetching of types would. */
export function teachArrays(sql: Sql, types: readonly ArrayType[]): void {
  const { parsers, serializers, shared } = sql.options as unknown as TypeTables
  for (const { elements, array } of types) {
    const parse = parsers[elements]
    const serialize = serializers[elements]
    shared.typeArrayMap[elements] = array
    parsers[array] = (text) => parsed(text, parse)
    serializers[array] = (value) => written(value, serialize)
  }
}

function written(value: unknown, serialize: Serialize | undefined): unknown {
  if (!Array.isArray(value)) return value
  const elements = value.map((element: unknown) => {
    if (element === null || element === undefined) return 'null'
    if (Array.isArray(element)) return written(element, serialize)
    const text = String(serialize === undefined ? element : serialize(element))
    return `"${text.replace(/[\\"]/g, '\\$&')}"`
  })
  return `{${elements.join(',')}}`
}

function parsed(text: string, parse: Parse = (element) => element): unknown[] {
  const open: unknown[][] = []
  let whole: unknown[] = []
  for (const [token, quoted, bare] of text.matchAll(/\{|\}|,|"((?:[^"\\]|\\.)*)"|([^{},"]+)/gsu)) {
    if (token === '{') open.push([])
    else if (token === '}') {
      whole = open.pop()!
      open.at(-1)?.push(whole)
    } else if (quoted !== undefined) open.at(-1)?.push(parse(quoted.replace(/\\(.)/gsu, '$1')))
    else if (bare !== undefined) open.at(-1)?.push(bare === 'NULL' ? null : parse(bare))
  }
  return whole
}
