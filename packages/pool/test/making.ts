import { type ConnectionFactory, ConnectionPool, type PoolLeak, type PoolOptions, type PoolTransition } from '@gw/pool'
import { FakeClock } from './fake-clock.ts'
import { type FakeConnection, FakeServer } from './fake-server.ts'

/** A pool on a standing clock and a server that is none. */
export function make(
  options: Partial<PoolOptions> = {},
  factory:
    | Partial<ConnectionFactory<FakeConnection>>
    | ((clock: FakeClock) => Partial<ConnectionFactory<FakeConnection>>) = {},
) {
  const clock = new FakeClock()
  const server = new FakeServer()
  const transitions: PoolTransition[] = []
  const leaks: PoolLeak[] = []
  const pool = new ConnectionPool({
    name: 'main',
    min: 0,
    max: 2,
    clock,
    now: () => clock.nowMs,
    random: () => 0.5,
    onTransition: (event) => transitions.push(event),
    onLeak: (event) => leaks.push(event),
    ...options,
  })
  const database = pool.register('database', server.factory(typeof factory === 'function' ? factory(clock) : factory))
  return { clock, server, pool, database, transitions, leaks }
}
