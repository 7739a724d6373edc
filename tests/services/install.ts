import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { findLibrary, findPostgresPrograms, findProgram } from './binaries.ts'

/** What these services can install. */
export type Installable =
  | 'postgresql'
  | 'redis'
  | 's3'
  | 'chromium'
  | 'haproxy'
  | 'promtool'
  | 'power-cut'
  | 'eatmydata'
  | 'strace'

const packages: Record<Installable, readonly string[]> = {
  postgresql: ['postgresql'],
  redis: ['redis-server', 'redis-tools'],
  s3: ['radosgw', 'ceph-mon', 'ceph-osd', 'ceph-common'],
  chromium: ['chromium'],
  haproxy: ['haproxy'],
  promtool: ['prometheus'],
  'power-cut': ['mount', 'e2fsprogs', 'xfsprogs'],
  eatmydata: ['libeatmydata1'],
  strace: ['strace'],
}

const cephPrograms = ['radosgw', 'radosgw-admin', 'ceph-mon', 'ceph-osd', 'ceph', 'ceph-authtool', 'monmaptool']

const present: Record<Installable, () => boolean> = {
  postgresql: () => findPostgresPrograms() !== undefined,
  redis: () => findProgram('redis-server') !== undefined,
  s3: () => cephPrograms.every((name) => findProgram(name) !== undefined),
  haproxy: () => findProgram('haproxy') !== undefined,
  promtool: () => findProgram('promtool') !== undefined,
  'power-cut': () => ['mount', 'mkfs.ext4', 'xfs_io'].every((name) => findProgram(name) !== undefined),
  eatmydata: () => findLibrary('libeatmydata.so') !== undefined,
  strace: () => findProgram('strace') !== undefined,
  chromium: () => ['chromium', 'chromium-browser', 'google-chrome'].some((name) => findProgram(name) !== undefined),
}

/**
 * Installs the Debian packages of what is missing, saying so on stderr, and starts no system service by it. Where this process is neither root nor may
 * use sudo without a password, it fails with the command to run. Safe in several processes at once.
 */
export async function ensureInstalled(wanted: readonly Installable[]): Promise<void> {
  if (missing(wanted).length === 0) return
  const unlock = await lock()
  try {
    const absent = missing(wanted)
    if (absent.length > 0) await install(absent)
  } finally {
    unlock()
  }
}

function missing(wanted: readonly Installable[]): Installable[] {
  return wanted.filter((name) => !present[name]())
}

async function install(absent: readonly Installable[]): Promise<void> {
  const names = absent.flatMap((name) => packages[name])
  const byHand = `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${names.join(' ')}`
  if (!findProgram('apt-get')) {
    throw new Error(`Missing: ${absent.join(', ')}, and there is no apt-get here. On Debian or Ubuntu: ${byHand}`)
  }
  const root = process.getuid?.() === 0
  if (!root && !(await succeeds('sudo', ['-n', 'true']))) {
    throw new Error(`Missing: ${absent.join(', ')}. Install them with: ${byHand}`)
  }
  const began = performance.now()
  console.error(`services: installing ${names.join(' ')} through apt-get`)
  const shell = ['sh', '-c', installScript, 'sh', ...names]
  const [command, ...args] = root ? shell : ['sudo', '-n', ...shell]
  const output = await run(command as string, args)
  const left = missing(absent)
  if (left.length > 0) throw new Error(`${left.join(', ')} could not be installed (${byHand}):\n${output}`)
  console.error(`services: installed in ${seconds(began)}`)
}

// A policy-rc.d that answers 101 keeps maintainer scripts from starting a service. One that was there before stays; our own, known by its second line,
// is removed even when a killed run left it behind.
const installScript = `
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
policy=/usr/sbin/policy-rc.d
mark='# no service is started while the test servers are installed'
if [ ! -e $policy ] || grep -qF "$mark" $policy; then
  trap 'rm -f $policy' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\n%s\\nexit 101\\n' "$mark" > $policy
  chmod 755 $policy
fi
apt() {
  for again in $(seq 150); do
    said=$(apt-get -q -o DPkg::Lock::Timeout=300 -o APT::Color=0 "$@" 2>&1) && return 0
    case $said in *'Could not get lock'*|*'Unable to lock'*) sleep 2;; *) break;; esac
  done
  printf '%s\\n' "$said" | tail -n 20
  return 1
}
apt install -y --no-install-recommends "$@" > /dev/null && exit 0
apt update && apt install -y --no-install-recommends "$@"
`

// An abstract socket as lock: the kernel frees it with its process.
async function lock(): Promise<() => void> {
  for (;;) {
    const server = createServer()
    try {
      server.listen({ path: '\0gw-services-install' })
      await once(server, 'listening')
      return () => server.close()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
      await sleep(200)
    }
  }
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    spawn(command, args, { stdio: 'ignore' })
      .once('error', () => resolve(false))
      .once('exit', (code) => resolve(code === 0))
  })
}

async function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = ''
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    }
    child.once('error', reject).once('close', () => resolve(output))
  })
}

/** The time since `began` (of `performance.now()`), for people. */
export function seconds(began: number): string {
  return `${((performance.now() - began) / 1000).toFixed(1)} s`
}
