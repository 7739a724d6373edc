import { type History, type Slot, slotCount } from '../wire.ts'
import { onTick } from './stream.ts'

/** The last hour as this page knows it: never more slots than an hour has. */
let slots: Slot[] = []
let loading: Promise<void> | undefined
const listeners = new Set<(slots: readonly Slot[]) => void>()

/** Hears the last hour now and whenever a slot is added. Answers how to end it. */
export function onHistory(listener: (slots: readonly Slot[]) => void): () => void {
  listeners.add(listener)
  if (loading === undefined) {
    loading = load()
    onTick(({ slot }) => slot !== undefined && add(slot))
    document.addEventListener('gw-back', () => void load())
  } else if (slots.length > 0) listener(slots)
  return () => listeners.delete(listener)
}

async function load(): Promise<void> {
  const response = await fetch('/live/history').catch(() => undefined)
  if (response?.ok !== true) return
  slots = [...((await response.json()) as History).slots]
  tell()
}

function add(slot: Slot): void {
  const last = slots.at(-1)
  if (last !== undefined && slot.at <= last.at) return
  slots.push(slot)
  if (slots.length > slotCount) slots.splice(0, slots.length - slotCount)
  tell()
}

function tell(): void {
  for (const listener of listeners) listener(slots)
}
