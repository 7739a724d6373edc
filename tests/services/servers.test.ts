import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { type Controls, createBucket, postgres, redis, redisCluster, s3, s3Request } from './index.ts'
import { inhabitants } from './inhabitants.ts'

const running: { stop(): Promise<void> }[] = []

function kept<Server extends { stop(): Promise<void> }>(server: Server): Server {
  running.push(server)
  return server
}

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()))
})

/** Nothing answers `ask` while the server is paused, and the same question is answered when it goes on. */
async function hangsWhilePaused(server: Controls, ask: () => Promise<unknown>): Promise<void> {
  server.pause()
  const answer = ask()
  expect(await Promise.race([answer, sleep(300, 'no answer')])).toBe('no answer')
  server.resume()
  await answer
}

async function leavesNothing(server: Controls): Promise<void> {
  expect(inhabitants(server.folder)).not.toEqual([])
  await server.stop()
  expect(inhabitants(server.folder)).toEqual([])
  expect(existsSync(server.folder)).toBe(false)
}

test('PostgreSQL keeps what was committed through kills and restarts, on the same address', async () => {
  const server = kept(await postgres())
  expect(await server.psql('show fsync')).toBe('on')
  await server.psql('create table kept (value int); insert into kept values (1)')
  await server.kill()
  expect(inhabitants(server.folder)).toEqual([])
  await expect(server.psql('select 1')).rejects.toThrow(/refused/)
  await server.restart()
  await server.psql('insert into kept values (2)')
  await server.restart({ downMs: 50 })
  expect(await server.psql('select value from kept order by value')).toBe('1\n2')
})

test('a killed PostgreSQL takes its sessions with it', async () => {
  const server = kept(await postgres())
  const session = server.psql('select pg_sleep(60)').catch((error: Error) => error.message)
  while ((await server.psql("select count(*) from pg_stat_activity where query like '%pg_sleep(60)'")) !== '1')
    await sleep(10)
  await server.kill()
  expect(await session).toMatch(/closed/)
  await server.restart()
  expect(await server.psql('select 1')).toBe('1')
})

test('PostgreSQL takes settings, a connection limit, and fsync off', async () => {
  const server = kept(await postgres({ fsync: false, maxConnections: 17, settings: { deadlock_timeout: '77ms' } }))
  expect(await server.psql('show fsync; show max_connections; show deadlock_timeout')).toBe('off\n17\n77ms')
})

test('PostgreSQL hangs while paused, goes on when resumed, and leaves nothing behind', async () => {
  const server = kept(await postgres())
  await hangsWhilePaused(server, () => server.psql('select 1'))
  server.pause()
  await leavesNothing(server)
})

test('Redis keeps what its append-only file has through kills and restarts', async () => {
  const server = kept(await redis({ appendfsync: 'always' }))
  await server.command('SET', 'a', '1')
  await server.kill()
  await expect(server.command('PING')).rejects.toThrow(/ECONNREFUSED/)
  await server.restart()
  await server.command('SET', 'b', '2')
  await server.restart({ downMs: 50 })
  expect(await server.command('MGET', 'a', 'b')).toEqual(['1', '2'])
})

test('Redis takes its policies, and a replica copies its master', async () => {
  const master = kept(await redis({ appendfsync: 'no', maxmemoryPolicy: 'allkeys-lru', settings: { hz: 20 } }))
  expect(await master.command('CONFIG', 'GET', 'appendfsync')).toEqual(['appendfsync', 'no'])
  expect(await master.command('CONFIG', 'GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'allkeys-lru'])
  expect(await master.command('CONFIG', 'GET', 'hz')).toEqual(['hz', '20'])
  const replica = kept(await redis({ replicaOf: master }))
  await master.command('SET', 'copied', 'yes')
  while ((await replica.command('GET', 'copied')) !== 'yes') await sleep(20)
})

test('Redis hangs while paused, goes on when resumed, and leaves nothing behind', async () => {
  const server = kept(await redis())
  await hangsWhilePaused(server, () => server.command('PING'))
  await leavesNothing(server)
})

test('Redis Cluster serves from every node, and a replica takes over from a killed master', async () => {
  const cluster = kept(await redisCluster({ masters: 3, replicas: 1 }))
  expect(cluster.nodes).toHaveLength(6)
  expect(await cluster.masters()).toEqual(cluster.nodes.slice(0, 3))
  // The key's slot, 15495, is of the third master.
  await cluster.nodes[2]?.command('SET', 'a', 'kept')
  await cluster.nodes[2]?.command('WAIT', 1, 5000)
  const killed = await cluster.killMaster(2)
  expect(killed).toBe(cluster.nodes[2])
  await cluster.settled()
  const heir = (await cluster.masters())[2]
  expect(heir).toBe(cluster.nodes[5])
  expect(await heir?.command('GET', 'a')).toBe('kept')
  await cluster.restart()
  expect(await heir?.command('GET', 'a')).toBe('kept')
  await cluster.stop()
  expect(cluster.nodes.flatMap((node) => inhabitants(node.folder))).toEqual([])
})

test('a cluster without replicas starts with the masters alone', async () => {
  const cluster = kept(await redisCluster())
  expect(await cluster.masters()).toEqual(cluster.nodes)
  expect(cluster.nodes).toHaveLength(3)
})

test('S3 on bluestore keeps acknowledged objects through a kill', async () => {
  const server = kept(await s3({ store: 'bluestore' }))
  await server.createBucket('kept')
  expect((await s3Request(server, 'PUT', '/kept/a%20b', { body: 'value' })).status).toBe(200)
  await server.kill()
  await server.restart()
  expect(await (await s3Request(server, 'GET', '/kept/a%20b')).text()).toBe('value')
})

test('S3 on memstore answers, refuses a wrong secret, hangs while paused, and leaves nothing behind', async () => {
  const server = kept(await s3())
  const bucket = randomUUID()
  await createBucket(server, bucket)
  await s3Request(server, 'PUT', `/${bucket}/key`, { body: 'value' })
  const list = await s3Request(server, 'GET', `/${bucket}`, { query: { 'list-type': '2', prefix: 'k' } })
  expect(await list.text()).toContain('<Key>key</Key>')
  const stranger = { ...server, secretAccessKey: 'wrong' }
  expect((await s3Request(stranger, 'GET', `/${bucket}/key`)).status).toBe(403)
  await hangsWhilePaused(server, () => s3Request(server, 'GET', `/${bucket}/key`))
  await server.kill()
  await expect(server.restart()).rejects.toThrow(/bluestore/)
  await server.stop()
  expect(inhabitants(server.folder)).toEqual([])
})
