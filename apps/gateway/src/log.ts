import { type Logger, pino } from 'pino'
import { paint, plain } from './cli/terminal.ts'

/** The log of `gw start`: JSON lines, or lines for people on a terminal. */
export function logOf(level: string, stream: NodeJS.WriteStream = process.stdout): Logger {
  return stream.isTTY ? pino({ level }, { write: (line) => stream.write(forPeople(line)) }) : pino({ level })
}

const names: Readonly<Record<number, string>> = { 20: 'DEBUG', 30: 'INFO', 40: 'WARN', 50: 'ERROR', 60: 'FATAL' }

/** One JSON line of the log as a person reads it. */
export function forPeople(line: string): string {
  const { level, time, msg, method, path, status, durationMs, requestId, err } = JSON.parse(line) as {
    readonly level: number
    readonly time: number
    readonly [name: string]: unknown
  }
  const name = names[level] ?? 'LOG'
  const request = method === undefined ? '' : `${method} ${path} ${status} ${durationMs} ms `
  const { message, stack } = (err ?? {}) as { readonly message?: string; readonly stack?: string }
  const head = [new Date(time).toISOString().slice(11, 23), name.padEnd(5), plain(`${request}${msg ?? message ?? ''}`)]
  const lines = [`${head.join(' ')}${requestId === undefined ? '' : ` ${paint.dim(plain(String(requestId)))}`}`]
  for (const frame of (stack ?? '').split('\n').slice(0, 12)) if (frame !== '') lines.push(`    ${plain(frame)}`)
  return `${level >= 50 ? paint.red(lines[0]!) : lines[0]}${lines
    .slice(1)
    .map((text) => `\n${text}`)
    .join('')}\n`
}
