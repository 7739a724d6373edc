import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createBucket, freshDatabase, sharedRedis, sharedRedisCluster, sharedS3 } from '@gw/services'
import type { Block } from './blocks.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
/** Where blocks become files: below here, so that the compiler and Node find the packages. Each test has a folder of its own. */
export const extracted: string = join(here, 'extracted')

/** The file that a block becomes. */
export function fileOf({ document, file, line }: Block, folder = 'all'): string {
  return join(extracted, folder, document.replaceAll(/[/.]/g, '-').toLowerCase(), file ?? `line-${line}.ts`)
}

const compilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  module: 'nodenext',
  target: 'es2022',
  lib: ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable', 'esnext.disposable'],
  types: ['node'],
  noEmit: true,
  skipLibCheck: true,
  allowImportingTsExtensions: true,
}

/** Writes the blocks into a folder, with the compiler's options beside them. */
export function extract(blocks: readonly Block[], folder = 'all'): void {
  removeExtracted(folder)
  for (const block of blocks) {
    mkdirSync(dirname(fileOf(block, folder)), { recursive: true })
    writeFileSync(fileOf(block, folder), `${block.text}export {}\n`)
  }
  writeFileSync(join(extracted, folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['.'] }))
}

export function removeExtracted(folder = 'all'): void {
  rmSync(join(extracted, folder), { recursive: true, force: true })
}

/** Real servers, under the names by which documents read their addresses from the environment. */
export async function addresses(): Promise<Record<string, string>> {
  const [databaseUrl, redis, cluster, s3] = await Promise.all([
    freshDatabase(),
    sharedRedis(),
    sharedRedisCluster(),
    sharedS3(),
  ])
  const bucket = `docs-${process.pid}-${Date.now()}`
  await createBucket(s3, bucket)
  return {
    DATABASE_URL: databaseUrl,
    REDIS_URL: redis.url,
    REDIS_CLUSTER_URLS: cluster.urls.join(','),
    S3_ENDPOINT: s3.url,
    S3_BUCKET: bucket,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
  }
}

/** How a program ended: nothing where all was well, else what it wrote on stderr. */
export async function run(block: Block, env: Readonly<Record<string, string>>): Promise<string> {
  const cwd = mkdtempSync(join(tmpdir(), 'gw-docs-'))
  const program = block.flag === 'serves' ? [join(here, 'up.ts'), fileOf(block)] : [fileOf(block)]
  const limitMs = 90_000
  try {
    return await new Promise((resolve) => {
      execFile(
        process.execPath,
        ['--import', join(here, 'free-ports.ts'), ...program],
        { cwd, timeout: limitMs, killSignal: 'SIGKILL', env: { ...process.env, ...env } },
        (error, _stdout, stderr) => {
          if (error === null) resolve('')
          else
            resolve(
              error.killed === true
                ? `it has not ended after ${limitMs / 1_000} s\n${stderr}`
                : stderr || error.message,
            )
        },
      )
    })
  } finally {
    rmSync(cwd, { recursive: true, force: true })
  }
}
