import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sessionFile } from '../src/admin/session-file.ts'
import { Sessions } from '../src/admin/sessions.ts'

function kept(directory: string, tokens: readonly string[] = ['a'], errors: unknown[] = []) {
  return sessionFile(directory, tokens, (error) => errors.push(error))
}

test('gateway G10: a session outlives its process where it is kept, not with other tokens, and not its end', () => {
  const directory = mkdtempSync(join(tmpdir(), 'gw-sessions-'))
  const before = new Sessions(undefined, kept(directory))
  const [stays, ends] = [before.begin('operate'), before.begin('read')]
  before.end(ends)
  const after = new Sessions(undefined, kept(directory))
  expect([after.find(stays), after.find(ends)]).toEqual(['operate', undefined])
  expect(new Sessions(undefined, kept(directory, ['b'])).find(stays)).toBeUndefined()
  const file = join(directory, 'admin-sessions.json')
  expect(readFileSync(file, 'utf8')).not.toContain(stays)
  expect(statSync(file).mode & 0o777).toBe(0o600)
})

test('gateway G10: a kept session ends after twelve hours without use, counted over the restart', () => {
  const directory = mkdtempSync(join(tmpdir(), 'gw-sessions-'))
  let now = 1_000_000
  const sessions = () => new Sessions(() => now, kept(directory))
  const id = sessions().begin('read')
  now += 11 * 3_600_000
  expect(sessions().find(id)).toBe('read')
  now += 11 * 3_600_000
  expect(sessions().find(id)).toBe('read')
  now += 13 * 3_600_000
  expect(sessions().find(id)).toBeUndefined()
})

test('gateway G10: a session file that is damaged, or cannot be written, costs a log-in and no more', () => {
  const directory = mkdtempSync(join(tmpdir(), 'gw-sessions-'))
  for (const text of ['{', '{"access":1}', '{"sessions":[{"digest":1}]}', 'null']) {
    writeFileSync(join(directory, 'admin-sessions.json'), text)
    expect(new Sessions(undefined, kept(directory)).find('x')).toBeUndefined()
  }
  const errors: unknown[] = []
  const sessions = new Sessions(undefined, kept(join(directory, 'absent'), ['a'], errors))
  expect(sessions.find(sessions.begin('read'))).toBe('read')
  expect(errors).toHaveLength(1)
})
