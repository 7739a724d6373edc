import { expect, test } from 'vitest'
import { levelOf } from '../src/line.ts'

test('D1: the level follows from the settings of the server', () => {
  const level = (synchronous_commit: string, standbys = '', fsync = 'on') =>
    levelOf({ synchronous_commit, standbys, fsync })
  expect(level('on')).toBe('fsync')
  expect(level('remote_apply')).toBe('fsync')
  expect(level('local', 'a')).toBe('fsync')
  expect(['on', 'remote_write', 'remote_apply'].map((setting) => level(setting, 'a'))).toEqual(
    Array(3).fill('replicated'),
  )
  expect(level('off', 'a')).toBe('memory')
  expect(level('on', '', 'off')).toBe('os')
  expect(level('off', '', 'off')).toBe('memory')
})
