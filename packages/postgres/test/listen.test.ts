import { expect, test } from 'vitest'
import { PostgresError } from '../src/errors.ts'
import type { Line } from '../src/line.ts'
import { Notifications } from '../src/listen.ts'
import { code } from './items.ts'

/** A connection that answers at once. */
function line(): Line & { readonly sent: string[] } {
  const sent: string[] = []
  return {
    sent,
    lost: undefined,
    onLost: undefined,
    async send(text: string) {
      sent.push(text)
      return []
    },
    destroy() {},
    async end() {},
  } as unknown as Line & { readonly sent: string[] }
}

test('L2: who listens hears again, also when another call of `listen` was connecting in its place and failed', async () => {
  const lost = new PostgresError('unavailable', 'The connection was lost')
  const [first, again] = [line(), line()]
  let refuse = () => {}
  const refused = new Promise<Line>((_, reject) => {
    refuse = () => reject(lost)
  })
  const opening = [Promise.resolve(first), refused, Promise.resolve(again)]
  const notifications = new Notifications({ deadlineMs: 60_000, openLine: () => opening.shift()! })
  await notifications.listen('news', () => {})
  first.onLost!(lost)
  const other = code(notifications.listen('other', () => {}))
  // Behind the time at which the first would have connected again.
  await new Promise((resolve) => setTimeout(resolve, 100))
  refuse()
  expect(await other).toBe('unavailable')
  await expect.poll(() => again.sent, { timeout: 2_000 }).toEqual(['listen "news"'])
  await notifications.close()
})
