import type { RunRecord } from '@gw/checkpoint'
import { eventsOf, type StoreLook } from '../offline/store-look.ts'
import { count, period } from '../terminal.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

const lateMs = 60_000
const queuedMs = 300_000
const atMost = 1_000

/** Runs that do not get on: their node is gone, their time is over, nobody takes them, or they wait for a person. */
export async function checkRuns(look: StoreLook): Promise<readonly Finding[]> {
  const { runs, now: nowOf, kind } = look
  if (runs === undefined) return []
  const counts = await runs.counts()
  const now = await nowOf()
  const findings: Finding[] = []
  findings.push(...(kind === 'sqlite' ? await abandoned(look) : await orphaned(look, now)))
  const late = (await runs.list({ status: 'waiting', limit: atMost })).filter(
    ({ wakeAt }) => wakeAt !== undefined && wakeAt < now - lateMs,
  )
  if (late.length > 0)
    findings.push(
      warning(
        'stuck runs',
        `${count(late.length)} should have gone on ${period(now - Math.min(...late.map(({ wakeAt }) => wakeAt!)))} ago${namesOf(late)}`,
        'Start a gateway that has their routes',
      ),
    )
  const queued = (await runs.list({ status: 'queued', limit: atMost })).filter(
    ({ updatedAt }) => updatedAt < now - queuedMs,
  )
  if (queued.length > 0) {
    const operations = [...new Set(queued.map(({ operation, version }) => `${operation} (version ${version})`))]
    findings.push(
      warning(
        'stuck runs',
        `${count(queued.length)} wait in the queue for more than ${period(queuedMs)}: ${operations.slice(0, 5).join(', ')}`,
        'Start a gateway that has these operations in these versions, or raise maxWorkers',
      ),
    )
  }
  if (counts.parked > 0) {
    const [first] = await runs.list({ status: 'parked', limit: 1 })
    findings.push(
      warning(
        'parked runs',
        `${count(counts.parked)} wait for a decision${first?.reason === undefined ? '' : `, the newest because: ${first.reason}`}`,
        'See gw requests ls --status parked, then gw requests resolve <id>',
      ),
    )
  }
  if (counts.dead > 0)
    findings.push(
      failed(
        'dead runs',
        `${count(counts.dead)} were given up`,
        'See gw requests ls --status dead, then gw requests retry <id> or cancel',
      ),
    )
  const unsettled = await runs.unsettled(atMost)
  const old = unsettled.filter(({ updatedAt }) => updatedAt < now - queuedMs)
  if (old.length > 0)
    findings.push(
      warning(
        'unsettled runs',
        `${count(old.length)} have an outcome that their key or event does not know of yet${namesOf(old)}`,
        'A running gateway settles them: see that its stores answer',
      ),
    )
  if (findings.length > 0) return findings
  const live = counts.queued + counts.running + counts.waiting
  return [ok('runs', `${count(live)} under way, none stuck, none dead`)]
}

/** One process has an embedded database: without it, what ran waits for the next start. */
async function abandoned({ runs, holder }: StoreLook): Promise<readonly Finding[]> {
  if (holder !== undefined) return []
  const left = await runs!.list({ status: 'running', limit: atMost })
  return left.length === 0 ? [] : [ok('runs', `${count(left.length)} were under way; the next start goes on with them`)]
}

async function orphaned({ runs, nodes }: StoreLook, now: number): Promise<readonly Finding[]> {
  const leases = await nodes()
  const running = await runs!.list({ status: 'running', limit: atMost })
  const orphans = running.filter(({ owner }) => owner === undefined || (leases.get(owner) ?? 0) < now - lateMs)
  if (orphans.length === 0) return []
  return [
    warning(
      'stuck runs',
      `${count(orphans.length)} run under a node that is gone${namesOf(orphans)}`,
      'A living node takes them within its lease: see that one is up, and its log',
    ),
  ]
}

function namesOf(runs: readonly RunRecord[]): string {
  return `: ${runs
    .slice(0, 3)
    .map(({ id, operation }) => `${operation} ${id}`)
    .join(', ')}${runs.length > 3 ? ', …' : ''}`
}

/** The audit trail: whether it is whole as far as asked for, and what was put aside. */
export async function checkEvents(look: StoreLook, deep: boolean): Promise<readonly Finding[]> {
  if (look.log === undefined) return []
  const events = await eventsOf(look)
  const findings: Finding[] = []
  const dead = await look.log.registers('dead/')
  if (dead.length > 0)
    findings.push(
      failed(
        'dead letters',
        `${countUp(dead.length)} events could not be delivered, first ${dead[0]!.name.slice('dead/'.length)}`,
        'Mend the receiver, then deliver them again',
      ),
    )
  const parked = await look.log.registers('parked/')
  if (parked.length > 0)
    findings.push(
      warning(
        'parked events',
        `${countUp(parked.length)} could not be applied by a projection, first ${parked[0]!.name.slice('parked/'.length)}`,
        'Mend the projection, then gw events rebuild <name>',
      ),
    )
  if (deep) {
    const { ok: whole, problems, events: seen } = await events.verify()
    const [problem] = problems
    findings.push(
      whole || problem === undefined
        ? ok('audit trail', `${count(seen)} events, every hash recomputed`)
        : failed(
            'audit trail',
            `${problem.kind} at ${problem.position}: ${problem.detail}`,
            'See gw events verify, and compare with a backup',
          ),
    )
  } else if (findings.length === 0)
    findings.push(ok('events', `${count((await look.log.head()).position)}, no dead letters`))
  return findings
}

function countUp(found: number): string {
  return found >= atMost ? `${count(atMost)} or more` : count(found)
}
