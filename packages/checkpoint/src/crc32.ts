const table = new Int32Array(256)
for (let n = 0; n < 256; n++) {
  let c = n
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1
  table[n] = c
}

type Columns = readonly (null | number | string | Uint8Array)[]
type NativeCrc = (data: Uint8Array | string, before: number) => number
let native: NativeCrc | false | undefined

/**
 * CRC-32 (ISO 3309) over columns, each preceded by its kind and length so that no two rows run together alike. The runtime's own
 * where it has one and the text is ASCII, else {@link portableCrcOf}, which gives the same.
 */
export function crcOf(columns: Columns): number {
  native ??= nativeCrc32() ?? false
  if (native === false) return portableCrcOf(columns)
  let crc = 0
  let text = ''
  for (const column of columns) {
    if (column instanceof Uint8Array) {
      text += `b${column.length}:`
      if (!ascii.test(text)) return portableCrcOf(columns)
      crc = native(column, native(text, crc))
      text = ''
    } else text += framed(column)
  }
  return ascii.test(text) ? native(text, crc) : portableCrcOf(columns)
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: every code unit that UTF-8 keeps as one byte
const ascii = /^[\x00-\x7f]*$/

function framed(column: null | number | string): string {
  const text = String(column)
  return `${column === null ? 'n' : typeof column === 'number' ? 'd' : 's'}${text.length}:${text}`
}

function nativeCrc32(): NativeCrc | undefined {
  const { process } = globalThis as {
    readonly process?: { getBuiltinModule?(name: string): { readonly crc32?: NativeCrc } | undefined }
  }
  return process?.getBuiltinModule?.('node:zlib')?.crc32
}

/** {@link crcOf} in plain arithmetic. */
export function portableCrcOf(columns: Columns): number {
  let crc = -1
  for (const column of columns) {
    if (column instanceof Uint8Array) {
      crc = overText(crc, `b${column.length}:`)
      for (let i = 0; i < column.length; i++) crc = table[(crc ^ column[i]!) & 0xff]! ^ (crc >>> 8)
    } else crc = overText(crc, framed(column))
  }
  return (crc ^ -1) >>> 0
}

function overText(crc: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    crc = table[(crc ^ unit) & 0xff]! ^ (crc >>> 8)
    if (unit > 0xff) crc = table[(crc ^ (unit >>> 8)) & 0xff]! ^ (crc >>> 8)
  }
  return crc
}
