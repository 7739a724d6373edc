/** The longest delay of a timer: the runtimes fire one with a longer one at once. */
export const longestTimerMs = 2_147_483_647

/** Milliseconds of a text like `500ms`, `30s`, `5min`, `2h` or `1d`; `undefined` for anything else. */
export function durationMs(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)$/.exec(text.trim()) ?? []
  if (number === undefined) return undefined
  return Number(number) * { ms: 1, s: 1_000, min: 60_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit!]!
}

/** Bytes of a text like `512B`, `64KB`, `1MB` or `2GiB`: `KB` is 1,000 and `KiB` 1,024; `undefined` for anything else. */
export function sizeBytes(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*(B|[KMGT]i?B)$/i.exec(text.trim()) ?? []
  if (number === undefined || unit === undefined) return undefined
  const base = /i/i.test(unit) ? 1_024 : 1_000
  return Math.round(Number(number) * base ** 'BKMGT'.indexOf(unit[0]!.toUpperCase()))
}
