import { faultKinds } from './faults.ts'

/** What is wrong with what the generator made, over many seeds: a harness that finds nothing must have looked. */
export function unhealthy(counts: Readonly<Record<string, number>>): string[] {
  const n = (what: string) => counts[what] ?? 0
  const ill = faultKinds
    .filter((kind) => n(`fault ${kind}`) === 0)
    .map((kind) => `the fault ${kind} has never happened`)
  const atLeast = (what: string, of: string, ratio: number) => {
    if (n(what) < n(of) * ratio)
      ill.push(`${what} is ${n(what)} of ${n(of)} ${of}, expected at least ${(ratio * 100).toFixed(1)} %`)
  }
  atLeast('answered', 'new_key', 0.95)
  atLeast('replay', 'submit', 0.1)
  atLeast('conflict', 'submit', 0.02)
  atLeast('mismatch', 'submit', 0.01)
  atLeast('key_after_crash', 'submit', 0.05)
  atLeast('look', 'submit', 0.01)
  atLeast('signal', 'run', 0.002)
  atLeast('cancel', 'run', 0.005)
  atLeast('run_recovered', 'run', 0.01)
  atLeast('run_collected', 'run', 0.05)
  atLeast('run_returned', 'run', 0.001)
  atLeast('fork', 'run', 0.02)
  atLeast('seed_sealed', 'seed', 0.1)
  atLeast('seed_apart', 'seed', 0.1)
  atLeast('retry', 'run', 0.002)
  for (const decision of ['rerun', 'restart', 'done', 'fail']) atLeast(`resolve_${decision}`, 'run', 0.0001)
  for (const status of ['completed', 'failed', 'cancelled']) atLeast(`run_${status}`, 'run', 0.005)
  return ill
}
