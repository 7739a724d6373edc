import { type RedisCommands, textOf } from './redis-commands.ts'

/** What of a Redis puts keys at risk. */
export interface RedisRisk {
  readonly code:
    | 'evicts'
    | 'not_persisted'
    | 'not_synced'
    | 'not_replicated_before_answer'
    | 'too_few_replicas'
    | 'read_only'
    | 'unchecked'
  /** What follows from it, and what to set. */
  readonly message: string
}

/** Looks at the settings of every master. A server that does not tell them is a risk of its own. */
export async function risksOf(commands: RedisCommands, waitReplicas: number): Promise<readonly RedisRisk[]> {
  const risks = new Map<RedisRisk['code'], RedisRisk>()
  const risk = (code: RedisRisk['code'], message: string) => risks.set(code, { code, message })
  try {
    const names = ['maxmemory-policy', 'maxmemory', 'appendonly', 'appendfsync']
    for (const answer of await commands.sendToMasters(['CONFIG', 'GET', ...names])) {
      const settings = pairsOf(answer)
      if (settings.get('maxmemory-policy') !== 'noeviction') {
        const policy = settings.get('maxmemory-policy')
        risk('evicts', `maxmemory-policy is ${policy}: keys vanish within their window; set noeviction`)
      }
      if (settings.get('appendonly') !== 'yes')
        risk('not_persisted', 'appendonly is off: a restart forgets every key; set appendonly yes')
      else if (settings.get('appendfsync') !== 'always') {
        const often = settings.get('appendfsync')
        risk('not_synced', `appendfsync is ${often}: a power cut forgets what it had answered; set always`)
      }
    }
  } catch {
    risk('unchecked', 'CONFIG GET is not allowed: eviction and persistence could not be checked')
  }
  try {
    for (const answer of await commands.sendToMasters(['INFO', 'replication'])) {
      const info = new Map(
        textOf(answer)
          .split('\r\n')
          .map((line) => line.split(':', 2) as [string, string]),
      )
      const replicas = Number(info.get('connected_slaves') ?? 0)
      if (info.get('role') === 'slave') risk('read_only', 'This is a replica: nothing can be claimed here')
      else if (replicas < waitReplicas) {
        risk('too_few_replicas', `${replicas} replicas are connected, and claims wait for ${waitReplicas}`)
      } else if (replicas > 0 && waitReplicas === 0) {
        risk(
          'not_replicated_before_answer',
          'A failover forgets claims and answers that had not reached the replica; set `wait`, or keep keys in PostgreSQL',
        )
      }
    }
  } catch {
    risk('unchecked', 'INFO is not allowed: replication could not be checked')
  }
  return [...risks.values()]
}

/** CONFIG GET answers with a list of names and values, or with a map. */
function pairsOf(answer: unknown): Map<string, string> {
  const pairs = new Map<string, string>()
  if (Array.isArray(answer)) {
    for (let i = 0; i + 1 < answer.length; i += 2) pairs.set(textOf(answer[i]), textOf(answer[i + 1]))
  } else if (answer instanceof Map) {
    for (const [name, value] of answer) pairs.set(textOf(name), textOf(value))
  } else if (typeof answer === 'object' && answer !== null) {
    for (const [name, value] of Object.entries(answer)) pairs.set(name, textOf(value))
  }
  return pairs
}
