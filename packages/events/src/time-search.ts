/** An event's place in a log, and its time in milliseconds of the epoch. */
export interface TimedPosition {
  readonly position: bigint
  readonly time: number
}

/** Guesses by even spacing before the search goes on from the last of them. */
const guesses = 3
/** How many events the first stride passes over, and how many times as many each next one. */
const [firstStride, growth] = [64n, 8n]

/**
 * The last position whose event is older than `time`, or `low.position` where none above it is. Times never decrease along positions,
 * so that a bound of time is a bound of positions, found without an index. It is looked for where it would lie if events came evenly,
 * then in growing strides from there, then by halves: a dozen looks in a busy log of any length, and never many more than by halves alone.
 * @param low - Taken for older than `time`.
 * @param high - The last event.
 * @param firstFrom - The time of the first event at a position or behind it, none where there is none.
 */
export function lastBefore(
  time: number,
  low: TimedPosition,
  high: TimedPosition,
  firstFrom: (position: bigint) => number | undefined,
): bigint {
  if (high.time < time) return high.position
  let [below, belowTime] = [low.position, low.time]
  let [last, lastTime] = [high.position, high.time]
  /** Narrows to one side of a position; whether its event is older. */
  const look = (position: bigint): boolean => {
    const found = firstFrom(position)
    const older = found !== undefined && found < time
    if (older) [below, belowTime] = [position, found]
    else [last, lastTime] = [position - 1n, found ?? lastTime]
    return older
  }

  let upwards = true
  for (let i = 0; i < guesses && below < last; i++) {
    const share = lastTime > belowTime ? Math.min(Math.max((time - belowTime) / (lastTime - belowTime), 0), 1) : 0.5
    const offset = BigInt(Math.round(Number(last - below) * share))
    upwards = look(below + (offset < 1n ? 1n : offset))
  }
  for (let stride = firstStride; below + stride < last; stride *= growth) {
    if (look(upwards ? below + stride : last - stride) !== upwards) break
  }
  while (below < last) look(below + (last - below + 1n) / 2n)
  return below
}
