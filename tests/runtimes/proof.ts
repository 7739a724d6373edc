/** One thing that a package does on a runtime, as a test runner would see it. */
export type Test = (name: string, run: () => Promise<void>) => void

/** What came of the tests of one proof. */
export interface Outcome {
  readonly passed: number
  readonly failures: readonly { readonly name: string; readonly error: string }[]
}

/** A row of the table: the tests are made where the module is loaded, and run afterwards. */
export interface Proof {
  readonly test: Test
  run(): Promise<Outcome>
}

/** Collects tests, and runs them without any test runner: one after the other, or all at once where they mostly wait. */
export function proof(register: (test: Test) => void, { atOnce = false } = {}): Proof {
  const tests: { readonly name: string; readonly run: () => Promise<void> }[] = []
  const test: Test = (name, run) => {
    tests.push({ name, run })
  }
  register(test)
  return {
    test,
    async run() {
      const failures: { name: string; error: string }[] = []
      const tried = async ({ name, run }: (typeof tests)[number]) => {
        try {
          await run()
        } catch (error) {
          failures.push({ name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
        }
      }
      if (atOnce) await Promise.all(tests.map(tried))
      else for (const each of tests) await tried(each)
      return { passed: tests.length - failures.length, failures }
    },
  }
}

/** Throws unless both have the same JSON. */
export function same(actual: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== b) throw new Error(`Expected ${b}, got ${a}`)
}
