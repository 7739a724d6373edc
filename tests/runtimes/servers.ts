import { sharedPostgres, sharedRedis, sharedRedisCluster, sharedS3 } from '@gw/services'

/** Where the servers are that the stores are proved on. The programs of the runtimes find these names in their environment. */
export interface Servers {
  readonly POSTGRES_URL: string
  readonly REDIS_URL: string
  /** The nodes, separated by commas. */
  readonly REDIS_CLUSTER_URL: string
  /** `http://key:secret@host/bucket`, a bucket of this run's own. */
  readonly BUCKET_URL: string
}

/** Starts what is not given in the environment of the tests; it ends with this process. */
export async function servers(): Promise<Servers> {
  const [postgres, redis, cluster, s3] = await Promise.all([
    sharedPostgres(),
    sharedRedis(),
    sharedRedisCluster(),
    sharedS3(),
  ])
  const bucket = `runtimes-${crypto.randomUUID()}`
  await s3.createBucket(bucket)
  const url = new URL(`/${bucket}`, s3.url)
  url.username = s3.accessKeyId
  url.password = s3.secretAccessKey
  return {
    POSTGRES_URL: postgres.url,
    REDIS_URL: redis.url,
    REDIS_CLUSTER_URL: cluster.urls.join(','),
    BUCKET_URL: url.href,
  }
}
