import { describe, expect, test } from 'vitest'
import { CircuitBreaker, CircuitBreakerRegistry } from '../src/index.ts'
import { fakeClock } from './fake-clock.ts'

const operator = { actor: 'test' }

describe('registry', () => {
  test('keeps breakers by name, and says which there are', () => {
    const registry = new CircuitBreakerRegistry()
    const database = new CircuitBreaker({ name: 'database_circuit_breaker' })
    registry.add('database', database).add('database', database)
    expect(registry.get('database')).toBe(database)
    expect([...registry.all.keys()]).toEqual(['database'])
    expect(registry.find('nothing')).toBeUndefined()
    expect(() => registry.get('data')).toThrow('No circuit breaker `data`; there are: `database`')
    expect(() => registry.add('database', new CircuitBreaker({ name: 'x' }))).toThrow('is there already')
    expect(registry.toJSON()).toEqual({
      circuit_breakers: {
        database: { state: 'CLOSED', failure_count: 0, failure_rate: 0, last_failure: null, next_attempt: null },
      },
    })
  })

  test('B11: one breaker a key, the least recently used goes first', () => {
    const registry = new CircuitBreakerRegistry({ maxKeys: 3 })
    const a = registry.for('a')
    registry.for('b')
    registry.for('c')
    expect(registry.for('a')).toBe(a)
    registry.for('d')
    expect([...registry.keyed()].map(([key]) => key)).toEqual(['c', 'a', 'd'])
  })

  test('B11: an open one is never forgotten before its time, however many keys come', async () => {
    const clock = fakeClock()
    const registry = new CircuitBreakerRegistry({
      maxKeys: 4,
      idleMs: 1_000,
      now: clock.now,
      keyed: { failureThreshold: 1, openMs: 60_000, now: clock.now },
    })
    const open = registry.for('open')
    await open.run(() => Promise.reject(new Error('down'))).catch(() => {})
    const forced = registry.for('forced')
    forced.forceOpen(operator)
    for (let n = 0; n < 1_000; n++) {
      registry.for(`key ${n}`)
      clock.advance(10)
    }
    expect(registry.for('open')).toBe(open)
    expect(registry.for('forced')).toBe(forced)
    clock.advance(60_000)
    for (let n = 0; n < 10; n++) registry.for(`more ${n}`)
    expect(registry.find('open')).toBeUndefined()
    expect(registry.find('forced')).toBe(forced)
  })

  test('B11: when all are open there are no more than `maxKeys`, and a new key is guarded but not kept', () => {
    const registry = new CircuitBreakerRegistry({ maxKeys: 20 })
    for (let n = 0; n < 20; n++) registry.for(`open ${n}`).forceOpen(operator)
    for (let n = 0; n < 100; n++) expect(registry.for(`new ${n}`).state).toBe('CLOSED')
    expect(registry.figures).toEqual({ named: 0, keyed: 20, overflow: 100, evicted: 0 })
  })

  test('B11: one that is not asked for is forgotten after `idleMs`', () => {
    const clock = fakeClock()
    const registry = new CircuitBreakerRegistry({ idleMs: 1_000, now: clock.now })
    const a = registry.for('a')
    clock.advance(999)
    expect(registry.for('a')).toBe(a)
    clock.advance(1_000)
    expect(registry.for('a')).not.toBe(a)
    clock.advance(1_000)
    registry.for('b')
    expect([...registry.keyed()].map(([key]) => key)).toEqual(['b'])
  })

  test('B11: a key that names a property of objects is a key like another', () => {
    const registry = new CircuitBreakerRegistry({ keyed: (key) => ({ failureThreshold: key.length }) })
    expect(registry.for('__proto__').name).toBe('__proto__')
    expect(registry.for('__proto__')).toBe(registry.for('__proto__'))
  })

  test('refuses options that cannot be right', () => {
    expect(() => new CircuitBreakerRegistry({ maxKeys: 0 })).toThrow(
      'Expected `maxKeys` to be a whole number above 0, got `0`',
    )
    expect(() => new CircuitBreakerRegistry({ max: 0 } as object)).toThrow('Unknown option `max`')
  })
})
