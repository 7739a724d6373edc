import { lookup as resolve } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'

/** Nothing that is only to be had from inside: loopback, private networks, link-local with its metadata services, and the unspecified. */
const inside = new BlockList()
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  inside.addSubnet(network, prefix, 'ipv4')
for (const [network, prefix] of [
  ['::', 128],
  ['::1', 128],
  ['64:ff9b::', 96],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  inside.addSubnet(network, prefix, 'ipv6')

/** Whether an address, in any spelling that `isIP` knows, is one that only insiders reach. IPv4 in IPv6 counts as what it holds. */
export function isInside(address: string): boolean {
  const bare = address.replace(/^\[|\]$/g, '').replace(/%.*$/, '')
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1]
  if (mapped !== undefined) return inside.check(mapped, 'ipv4')
  const family = isIP(bare)
  if (family === 0) return true
  return inside.check(bare, family === 4 ? 'ipv4' : 'ipv6')
}

/**
 * Whether the URL, as it was written, spells out an address of this machine or of a private network in the one plain way. Then the
 * operator means it. A name that turns out to lead there, or another spelling of it, needs `allowPrivate`.
 */
export function namesPrivateAddress(url: string): boolean {
  const host = /^[a-z]+:\/\/(?:[^@/]*@)?(\[[^\]]*\]|[^:/?#]*)/i.exec(url)?.[1] ?? ''
  return (
    host === '[::1]' ||
    (isIP(host) === 4 &&
      /^(?:127|10)\.|^192\.168\.|^172\.(?:1[6-9]|2\d|3[01])\./.test(host) &&
      !/(?:^|\.)0\d/.test(host))
  )
}

/** An address that may not be connected to. */
export class ForbiddenAddressError extends Error {
  override readonly name = 'ForbiddenAddressError'
  readonly code = 'upstream_forbidden'
}

/** Resolves names for `net.connect`, and refuses at that moment what lies inside: a name cannot change between check and use. */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) return callback(error, '', 0)
    const outside = addresses.filter(({ address }) => !isInside(address))
    if (outside.length === 0) {
      return callback(new ForbiddenAddressError(`${hostname} leads to an address that is not for upstreams`), '', 0)
    }
    if (options.all === true) return callback(null, outside)
    callback(null, outside[0]!.address, outside[0]!.family)
  })
}
