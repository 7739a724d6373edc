import { createHash, createHmac } from 'node:crypto'

/** Where an S3 is and who may use it. */
export interface S3Access {
  readonly url: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly region: string
}

/** Sends one request signed with AWS Signature Version 4, its whole payload hashed. `path` is `/bucket/key`, already encoded. */
export async function s3Request(
  access: S3Access,
  method: string,
  path: string,
  options: { readonly body?: string | Uint8Array<ArrayBuffer>; readonly query?: Readonly<Record<string, string>> } = {},
): Promise<Response> {
  const { body = '', query = {} } = options
  const { host } = new URL(access.url)
  const search = Object.entries(query)
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join('&')
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const payload = createHash('sha256').update(body).digest('hex')
  const headers = `host:${host}\nx-amz-content-sha256:${payload}\nx-amz-date:${time}\n`
  const signed = 'host;x-amz-content-sha256;x-amz-date'
  const scope = `${time.slice(0, 8)}/${access.region}/s3/aws4_request`
  const canonical = createHash('sha256')
    .update([method, path, search, headers, signed, payload].join('\n'))
    .digest('hex')
  const key = scope
    .split('/')
    .reduce<string | Buffer>((secret, part) => hmac(secret, part), `AWS4${access.secretAccessKey}`)
  const signature = hmac(key, ['AWS4-HMAC-SHA256', time, scope, canonical].join('\n')).toString('hex')
  return fetch(`${access.url}${path}${search ? `?${search}` : ''}`, {
    method,
    headers: {
      authorization: `AWS4-HMAC-SHA256 Credential=${access.accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`,
      'x-amz-content-sha256': payload,
      'x-amz-date': time,
    },
    ...(method === 'GET' || method === 'HEAD' ? {} : { body }),
  })
}

/** Makes a bucket; one that is there already and is ours is no error. */
export async function createBucket(access: S3Access, bucket: string): Promise<void> {
  const response = await s3Request(access, 'PUT', `/${encode(bucket)}`)
  if (!response.ok) throw new Error(`The bucket ${bucket} was not made: ${response.status} ${await response.text()}`)
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
}
