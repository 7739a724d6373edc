import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createBucket, sharedS3 } from '@gw/services'
import { expect, test } from 'vitest'
import { startServer } from './crash/server.ts'

const cli = fileURLToPath(new URL('../apps/gateway/dist/cli.js', import.meta.url))
const run = promisify(execFile)

test('T2: after the data directory is deleted, `gw restore` brings every backed-up request back from S3, to the byte', async () => {
  const s3 = await sharedS3()
  const bucket = `restore-${Date.now()}`
  await createBucket(s3, bucket)
  const url = new URL(`/${bucket}?region=${s3.region}`, s3.url)
  url.username = s3.accessKeyId
  url.password = s3.secretAccessKey
  const dataDir = join(mkdtempSync(join(tmpdir(), 'gw-restore-')), 'data')
  const env = { GW_S3_URL: url.href, GW_DRAIN_DELAY: '0s' }
  const first = await startServer(dataDir, env)
  const answers = new Map<string, string>()
  for (let i = 0; i < 5; i++) {
    const answer = await fetch(`${first.url}/api/payment`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ amount: i + 1, currency: 'EUR', payment_method: 'card', customer_id: 'ann' }),
    })
    answers.set(answer.headers.get('gw-run')!, await answer.text())
  }
  first.process.kill('SIGTERM')
  expect((await first.exited).code).toBe(0)
  rmSync(dataDir, { recursive: true })

  const { stdout } = await run(process.execPath, [cli, 'restore'], {
    env: { ...process.env, ...env, GW_DATA_DIR: dataDir },
  })
  expect(stdout).toContain('runs 5')
  const second = await startServer(dataDir, env)
  for (const [id, text] of answers) {
    const answer = await fetch(`${second.url}/requests/${id}/response`)
    expect([answer.status, await answer.text()]).toEqual([201, text])
  }
  second.process.kill('SIGKILL')
  await second.exited
})
