/** `pnpm bench growth [--runs n]`: start-up, pages and memory with many finished runs on SQLite, and how soon unfinished ones are recovered. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { RunRecord } from '@gw/checkpoint'
import { createGateway } from '@gw/gateway'
import { freePorts } from '@gw/services'
import { startServer } from '../crash/server.ts'
import { median, type Row, rounded } from './row.ts'
import { answers, ended, startSide } from './server-process.ts'

const pages = 15

/** Up to `most` finished runs, and a tenth as many unfinished ones. */
export async function growth(most: number): Promise<Row[]> {
  const finished = [most / 1_000, most / 10, most]
  const unfinished = [most / 100_000, most / 1_000, most / 10].map((runs) => Math.max(1, runs))
  const rows: Row[] = []
  let first: { readonly start: number; readonly page: number; readonly memory: number } | undefined
  for (const runs of finished) {
    const directory = mkdtempSync(join(tmpdir(), 'gw-growth-'))
    try {
      await fill(join(directory, 'data'), runs, { status: 'completed', settled: true, expiresAt: Date.now() + 1e9 })
      const figures = await withFinished(join(directory, 'data'))
      first ??= figures
      const of = `with ${runs.toLocaleString('en')} finished`
      rows.push(
        {
          name: `start-up ${of}`,
          value: rounded(figures.start),
          unit: 'ms',
          ratio: rounded(figures.start / first.start),
        },
        {
          name: `newest page ${of}`,
          value: rounded(figures.page),
          unit: 'ms',
          ratio: rounded(figures.page / first.page),
        },
        {
          name: `memory ${of}`,
          value: rounded(figures.memory),
          unit: 'MiB',
          ratio: rounded(figures.memory / first.memory),
        },
      )
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  }
  for (const runs of unfinished) {
    const directory = mkdtempSync(join(tmpdir(), 'gw-growth-'))
    try {
      await fill(join(directory, 'data'), runs, { status: 'running', owner: 'gone/1', fence: 1 })
      const { startMs, allMs } = await recovering(directory)
      const of = `with ${runs.toLocaleString('en')} unfinished`
      rows.push(
        { name: `start-up ${of}`, value: rounded(startMs), unit: 'ms' },
        { name: `recovery ${of}`, value: Math.round((runs * 1_000) / allMs), unit: 'runs/s' },
      )
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  }
  return rows
}

/** Puts so many runs into the storage of a gateway. */
async function fill(dataDir: string, runs: number, changes: Partial<RunRecord>): Promise<void> {
  const gateway = await createGateway({ dataDir, admin: { enabled: false } })
  const { store } = gateway.checkpoints
  await store.open()
  const request = { requestId: undefined, operation: 'job', version: '1', method: 'POST', route: '/job' } as const
  const input = { url: 'http://127.0.0.1/job', headers: [], variables: '{}', body: new Uint8Array(100) }
  const outcome = { status: 200, headers: [], body: new Uint8Array(100), retained: true }
  for (let i = 0; i < runs; i += 1_000) {
    const unit = store.unit()
    for (let j = i; j < Math.min(i + 1_000, runs); j++) {
      const run = gateway.checkpoints.newRecord(true, { ...request, principal: undefined, subject: undefined })
      unit.add(store.accept({ ...run, ...changes }, input, changes.status === 'completed' ? { outcome } : {}))
    }
    await unit.commit()
  }
  await gateway.close()
}

async function withFinished(dataDir: string): Promise<{ start: number; page: number; memory: number }> {
  const server = await startServer(dataDir)
  try {
    const times: number[] = []
    for (let n = 0; n <= pages; n++) {
      const began = performance.now()
      await (await server.admin('/admin/requests')).arrayBuffer()
      // The first one reads what no cache has yet.
      if (n > 0) times.push(performance.now() - began)
    }
    const [, resident = '0'] =
      /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${server.process.pid}/status`, 'utf8')) ?? []
    return { start: server.startMs, page: median(times), memory: Number(resident) / 1_024 }
  } finally {
    server.process.kill('SIGKILL')
    await server.exited
  }
}

/** From the start of a process to its first answer, and to its last recovered run. */
async function recovering(directory: string): Promise<{ startMs: number; allMs: number }> {
  const [port] = (await freePorts(1)) as [number]
  const began = performance.now()
  const child = startSide('jobs', [String(port), directory])
  try {
    await answers(child, port)
    const startMs = performance.now() - began
    for (;;) {
      const { left } = (await (await fetch(`http://127.0.0.1:${port}/left`)).json()) as { left: number }
      if (left === 0) return { startMs, allMs: performance.now() - began }
      await delay(20)
    }
  } finally {
    await ended(child)
  }
}
