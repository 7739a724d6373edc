/** What the proxies stand in front of: `/1000` answers so many bytes once the request is read. Says its port. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const bodies = new Map([1_000, 1_000_000].map((length) => [`/${length}`, Buffer.alloc(length, 'x')]))
const server = createServer((request, response) => {
  const body = bodies.get(request.url ?? '') ?? bodies.get('/1000')!
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.length })
    response.end(body)
  })
  request.resume()
})
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
