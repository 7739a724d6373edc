/** @jsxImportSource hono/jsx */
import type { RunStatus } from '@gw/checkpoint'
import { Icon, type IconName } from './icons.tsx'

/** How a state looks: a colour and a shape, so that neither is needed alone. */
export type Tone = 'good' | 'wait' | 'bad' | 'busy' | 'calm'

interface Look {
  readonly tone: Tone
  readonly icon: IconName
  readonly text?: string
}

const runs: Readonly<Record<RunStatus, Look>> = {
  queued: { tone: 'calm', icon: 'ring' },
  running: { tone: 'busy', icon: 'play' },
  waiting: { tone: 'wait', icon: 'clock' },
  parked: { tone: 'wait', icon: 'pause' },
  completed: { tone: 'good', icon: 'check' },
  failed: { tone: 'bad', icon: 'cross' },
  cancelled: { tone: 'calm', icon: 'slash' },
  dead: { tone: 'bad', icon: 'stop' },
}

const breakers: Readonly<Record<string, Look>> = {
  CLOSED: { tone: 'good', icon: 'check', text: 'closed' },
  OPEN: { tone: 'bad', icon: 'stop', text: 'open' },
  HALF_OPEN: { tone: 'wait', icon: 'half', text: 'half-open' },
}

/** The statuses of runs in the order in which they are shown. */
export const statuses = Object.keys(runs) as readonly RunStatus[]

/** A word with its colour and shape. */
export function Badge({ tone, icon, children }: { tone: Tone; icon: IconName; children: string }) {
  return (
    <span class={`badge ${tone}`}>
      <Icon name={icon} size={12} />
      {children}
    </span>
  )
}

/** The status of a run. */
export function RunBadge({ status }: { readonly status: string }) {
  const { tone, icon } = runs[status as RunStatus] ?? { tone: 'calm', icon: 'ring' }
  return (
    <Badge tone={tone} icon={icon}>
      {status}
    </Badge>
  )
}

/** The state of a breaker, and whether an operator decided it. */
export function BreakerBadge({ state, forced }: { readonly state: string; readonly forced?: string | null }) {
  const { tone, icon, text } = breakers[state] ?? { tone: 'calm', icon: 'ring' }
  return (
    <Badge tone={tone} icon={icon}>
      {`${text ?? state}${forced === null || forced === undefined ? '' : ', held by an operator'}`}
    </Badge>
  )
}

/** What a state of any part says about it. */
export function StateBadge({ good, text }: { readonly good: boolean; readonly text: string }) {
  return (
    <Badge tone={good ? 'good' : 'bad'} icon={good ? 'check' : 'warn'}>
      {text}
    </Badge>
  )
}

/** A message with its weight. */
export function Note({ tone, children }: { readonly tone: Tone; readonly children?: unknown }) {
  const icon: IconName = tone === 'good' ? 'check' : tone === 'bad' ? 'warn' : tone === 'wait' ? 'pause' : 'ring'
  return (
    <div class={`note ${tone}`}>
      <Icon name={icon} />
      <div>{children}</div>
    </div>
  )
}
