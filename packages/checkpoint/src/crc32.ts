const table = new Int32Array(256)
for (let n = 0; n < 256; n++) {
  let c = n
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1
  table[n] = c
}

/** CRC-32 (ISO 3309) over columns, each preceded by its kind and length so that no two rows run together alike. */
export function crcOf(columns: readonly (null | number | string | Uint8Array)[]): number {
  let crc = -1
  for (const column of columns) {
    if (column instanceof Uint8Array) {
      crc = overText(crc, `b${column.length}:`)
      for (let i = 0; i < column.length; i++) crc = table[(crc ^ column[i]!) & 0xff]! ^ (crc >>> 8)
    } else {
      const text = String(column)
      crc = overText(crc, `${column === null ? 'n' : typeof column === 'number' ? 'd' : 's'}${text.length}:`)
      crc = overText(crc, text)
    }
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
