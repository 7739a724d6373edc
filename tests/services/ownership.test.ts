import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { findProgram } from './binaries.ts'
import { hasEnded, inhabitants } from './inhabitants.ts'

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const index = JSON.stringify(new URL('index.ts', import.meta.url).href)

function script(source: string, options: { readonly env?: NodeJS.ProcessEnv } = {}): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  })
}

async function output(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (bytes) => {
    stdout += bytes
  })
  child.stderr?.on('data', (bytes) => {
    stderr += bytes
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

const ofOwner = `
  import { postgres, redis } from ${index}
  const servers = await Promise.all([postgres(), redis()])
  console.log(JSON.stringify(servers.map(({ folder }) => folder)))
`

async function allGone(folders: readonly string[]): Promise<void> {
  expect(folders).toHaveLength(2)
  while (folders.some((folder) => inhabitants(folder).length > 0 || existsSync(folder))) await sleep(20)
}

test('servers and their folders go when their owner is killed with SIGKILL', async () => {
  const owner = script(`${ofOwner}; setInterval(() => {}, 1000)`)
  const [line] = await once(owner.stdout as NonNullable<typeof owner.stdout>, 'data')
  const folders: string[] = JSON.parse(String(line))
  for (const folder of folders) expect(inhabitants(folder)).not.toEqual([])
  owner.kill('SIGKILL')
  await allGone(folders)
})

test('servers do not keep their owner alive, and go when it ends', async () => {
  const { code, stdout } = await output(script(ofOwner))
  expect(code).toBe(0)
  await allGone(JSON.parse(stdout))
})

test('an owner that fails while it pauses a server leaves nothing either', async () => {
  const { stdout } = await output(
    script(`${ofOwner}; for (const server of servers) server.pause(); throw new Error('no')`),
  )
  await allGone(JSON.parse(stdout))
})

test('the run command gives a command the addresses, passes its exit code, and stops the servers', async () => {
  const show = `console.log(JSON.stringify(process.env)); process.exit(7)`
  const { code, stdout, stderr } = await output(
    spawn(process.execPath, [file('run.ts'), '--', process.execPath, '-e', show], {
      env: { ...process.env, GW_TEST_POSTGRES_URL: '', GW_TEST_REDIS_URL: '', GW_TEST_REDIS_CLUSTER_URL: 'given' },
    }),
  )
  expect(code).toBe(7)
  const env = JSON.parse(stdout) as Record<string, string>
  expect(env['GW_TEST_POSTGRES_URL']).toMatch(/^postgres:\/\/postgres@127\.0\.0\.1:\d+\/postgres$/)
  expect(env['GW_TEST_REDIS_URL']).toMatch(/^redis:\/\/127\.0\.0\.1:\d+$/)
  expect(env['GW_TEST_REDIS_CLUSTER_URL']).toBe('given')
  expect(stderr).not.toMatch(/Redis Cluster/)
  const ports = [...stderr.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port))
  for (const port of ports) await expect(fetch(`http://127.0.0.1:${port}`)).rejects.toThrow()
})

test('the run command stops its servers when it is told to end, after the command has', async () => {
  const wait = `console.log(process.pid); setInterval(() => {}, 1000)`
  const run = spawn(process.execPath, [file('run.ts'), '--', process.execPath, '-e', wait], {
    env: { ...process.env, GW_TEST_POSTGRES_URL: 'given', GW_TEST_REDIS_URL: '', GW_TEST_REDIS_CLUSTER_URL: 'given' },
  })
  const result = output(run)
  const [pid] = await once(run.stdout, 'data')
  run.kill('SIGTERM')
  const { code, stderr } = await result
  expect(code).toBe(128 + 15)
  expect(hasEnded(Number(String(pid)))).toBe(true)
  const [, port] = /redis:\/\/127\.0\.0\.1:(\d+)/.exec(stderr) ?? []
  await expect(fetch(`http://127.0.0.1:${port}`)).rejects.toThrow()
})

test('what is missing is installed once, even by two processes at the same time', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gw-install-'))
  try {
    for (const name of ['sh', 'seq', 'sleep', 'tail', 'grep', 'chmod', 'rm'])
      symlinkSync(findProgram(name) as string, join(folder, name))
    const program = (name: string, text: string) => {
      writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`)
      chmodSync(join(folder, name), 0o755)
    }
    program('sudo', 'shift; exec "$@"')
    program(
      'apt-get',
      `echo "$DEBIAN_FRONTEND $@" >> ${folder}/asked; sleep 0.3; printf '#!/bin/sh' > ${folder}/redis-server; chmod 755 ${folder}/redis-server`,
    )
    const source = `import { ensureInstalled } from ${index}; await ensureInstalled(['redis'])`
    const both = await Promise.all([1, 2].map(() => output(script(source, { env: { PATH: folder } }))))
    expect(both.map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual([0, 0])
    expect(both.map(({ stderr }) => stderr).join('')).toMatch(/installing redis-server redis-tools through apt-get/)
    const asked = readFileSync(join(folder, 'asked'), 'utf8').trimEnd().split('\n')
    expect(asked).toHaveLength(1)
    expect(asked[0]).toMatch(/^noninteractive .*install -y --no-install-recommends redis-server redis-tools$/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('where nothing may be installed, the error has the command to run', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gw-install-'))
  try {
    chmodSync(folder, 0o755)
    symlinkSync('/bin/true', join(folder, 'apt-get'))
    const { code, stderr } = await output(
      script(
        `import { ensureInstalled } from ${index}
        if (process.getuid() === 0) process.setuid(65534)
        await ensureInstalled(['redis', 's3'])`,
        { env: { PATH: folder } },
      ),
    )
    expect(code).toBe(1)
    expect(stderr).toContain(
      'sudo apt-get update && sudo apt-get install -y --no-install-recommends redis-server redis-tools radosgw ceph-mon ceph-osd ceph-common',
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})
