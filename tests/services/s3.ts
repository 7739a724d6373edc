import type { ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { findProgram } from './binaries.ts'
import { type Controls, controls } from './controls.ts'
import { makeHome, untilReady } from './home.ts'
import { ensureInstalled } from './install.ts'
import { claimPort } from './ports.ts'
import { createBucket, type S3Access } from './s3-request.ts'

export interface S3Options {
  /** `memstore`, the default, is fast and loses everything when killed; `bluestore` keeps on disk what it has acknowledged. */
  readonly store?: 'memstore' | 'bluestore'
}

export interface S3 extends S3Access, Controls {
  readonly port: number
  createBucket(name: string): Promise<void>
}

/** Starts an S3 of its own on a loopback port: a Ceph RADOS Gateway on one monitor and one storage daemon. Buckets are addressed by path. */
export async function s3(options: S3Options = {}): Promise<S3> {
  const { store = 'memstore' } = options
  await ensureInstalled(['s3'])
  const home = makeHome('s3')
  const claims = [await claimPort(), await claimPort()]
  const [port, monitorPort] = claims.map((claim) => claim.port) as [number, number]
  const access: S3Access = {
    url: `http://127.0.0.1:${port}`,
    accessKeyId: 'gwtest',
    secretAccessKey: 'gwtestsecret',
    region: 'us-east-1',
  }
  const env = { CEPH_CONF: join(home.folder, 'ceph.conf') }
  const cluster = randomUUID()
  let daemons: readonly ChildProcess[] = []
  let lost = false

  const program = (name: string) => findProgram(name) as string
  const run = (name: string, ...args: readonly string[]) => home.run(program(name), args, env)
  const startMonitor = () => home.spawn('mon', program('ceph-mon'), ['-f', '-i', 'a'], env)
  // What asks the storage before it has told the monitor its new address would ask the old one, and again only ten seconds later.
  const startStorage = async () => {
    const storage = home.spawn('osd', program('ceph-osd'), ['-f', '-i', '0'], env)
    const socket = join(home.folder, 'run', 'osd.0.asok')
    const active = async () => ((await daemonState(socket)) === 'active' ? true : undefined)
    await untilReady('S3 storage', active, { child: storage, log: () => home.logTail('osd') })
    return storage
  }
  const startGateway = async () => {
    const gateway = home.spawn('rgw', program('radosgw'), ['-f', '-n', 'client.rgw'], env)
    await untilReady('S3', () => answers(access.url), { child: gateway, log: () => home.logTail('rgw') })
    return gateway
  }
  const start = async () => {
    if (lost) throw new Error('A killed S3 on memstore has lost its data; use `store: "bluestore"` to restart it')
    const monitor = startMonitor()
    daemons = [monitor]
    const storage = await startStorage()
    daemons = [storage, monitor]
    daemons = [await startGateway(), storage, monitor]
  }

  const set = async () => {
    for (const folder of ['mon', 'osd', 'rgw', 'run']) mkdirSync(join(home.folder, folder))
    writeFileSync(env.CEPH_CONF, configuration({ folder: home.folder, cluster, port, monitorPort, store }))
    const keyring = join(home.folder, 'keyring')
    const map = join(home.folder, 'monmap')
    await run('ceph-authtool', '--create-keyring', keyring, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *')
    await run('monmaptool', '--create', '--addv', 'a', `[v2:127.0.0.1:${monitorPort}]`, '--fsid', cluster, map)
    await run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', map, '--keyring', keyring)
    const monitor = startMonitor()
    daemons = [monitor]
    const id = randomUUID()
    await run('ceph', '--connect-timeout', '60', 'osd', 'new', id, '0')
    await run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', id)
    const storage = await startStorage()
    daemons = [storage, monitor]
    const keys = ['--access-key', access.accessKeyId, '--secret', access.secretAccessKey]
    await run('radosgw-admin', 'user', 'create', '--uid', 'gw', '--display-name', 'gw', ...keys)
    daemons = [await startGateway(), storage, monitor]
  }

  const release = () => {
    for (const claim of claims) claim.release()
  }
  try {
    await set()
  } catch (error) {
    await home.remove()
    release()
    throw error
  }

  const common = controls({
    home,
    start,
    shutDown: () => home.shutDown(daemons, 'SIGTERM'),
    discard: home.kill,
    release,
  })
  return {
    ...access,
    port,
    createBucket: (name) => createBucket(access, name),
    ...common,
    async kill() {
      lost = store === 'memstore'
      await common.kill()
    },
  }
}

// Asks a Ceph daemon for its state through its administration socket: a command and a zero byte, answered by a length and JSON.
function daemonState(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let answer = Buffer.alloc(0)
    const socket = connect({ path }, () => socket.write('{"prefix":"status"}\0'))
    socket.setTimeout(2_000, () => socket.destroy())
    socket.on('data', (bytes) => {
      answer = Buffer.concat([answer, bytes])
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      try {
        resolve(JSON.parse(answer.toString('utf8', 4)).state)
      } catch {
        resolve(undefined)
      }
    })
  })
}

async function answers(url: string): Promise<true | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    await response.arrayBuffer()
    return response.status === 200 ? true : undefined
  } catch {
    return undefined
  }
}

function configuration(place: {
  readonly folder: string
  readonly cluster: string
  readonly port: number
  readonly monitorPort: number
  readonly store: 'memstore' | 'bluestore'
}): string {
  const { folder, cluster, port, monitorPort, store } = place
  const settings: Record<string, string | number> = {
    fsid: cluster,
    mon_host: `[v2:127.0.0.1:${monitorPort}/0]`,
    public_addr: '127.0.0.1',
    cluster_addr: '127.0.0.1',
    ms_bind_msgr1: 'false',
    // Below the ports of outgoing connections, above those that are claimed; the storage daemon takes the free ones it finds.
    ms_bind_port_min: 22_701,
    ms_bind_port_max: 32_700,
    auth_cluster_required: 'none',
    auth_service_required: 'none',
    auth_client_required: 'none',
    // The gateway wants an encrypted monitor connection by default, which there is none of without authentication.
    ms_mon_client_mode: 'crc',
    ms_mon_service_mode: 'crc',
    ms_mon_cluster_mode: 'crc',
    osd_pool_default_size: 1,
    osd_pool_default_min_size: 1,
    osd_pool_default_pg_num: 1,
    osd_pool_default_pgp_num: 1,
    osd_pool_default_pg_autoscale_mode: 'off',
    mon_allow_pool_size_one: 'true',
    // Each pool is two or three decisions of the monitor, which by default gathers others for a second first.
    paxos_propose_interval: 0.02,
    paxos_min_wait: 0.01,
    objecter_tick_interval: 0.5,
    osd_crush_chooseleaf_type: 0,
    // By default the monitor ends where a hundredth of the disk is left, however much that is.
    mon_data_avail_crit: 0,
    mon_data_avail_warn: 0,
    osd_objectstore: store,
    ...(store === 'memstore'
      ? // A fast shutdown would not write the memory down.
        { memstore_device_bytes: 2 ** 30, osd_fast_shutdown: 'false' }
      : {
          bluestore_block_size: 2 ** 32,
          bluestore_block_create: 'true',
          bluestore_block_db_create: 'false',
          bluestore_block_wal_create: 'false',
          bluestore_cache_autotune: 'false',
        }),
    chdir: folder,
    run_dir: join(folder, 'run'),
    admin_socket: join(folder, 'run', '$name.asok'),
    pid_file: join(folder, 'run', '$name.pid'),
    log_file: join(folder, '$name.log'),
    crash_dir: folder,
    mon_data: join(folder, 'mon'),
    osd_data: join(folder, 'osd'),
    rgw_data: join(folder, 'rgw'),
    keyring: join(folder, 'keyring'),
    rgw_frontends: `beast endpoint=127.0.0.1:${port}`,
    rgw_thread_pool_size: 64,
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`)
  return `[global]\n${lines.join('')}`
}
