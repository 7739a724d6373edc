import { decidingLaws } from './laws/deciding.ts'
import { findingLaws } from './laws/finding.ts'
import { keepingLaws } from './laws/keeping.ts'
import { owningLaws } from './laws/owning.ts'
import type { StoreUnderTest } from './laws/subject.ts'

export type { StoreUnderTest } from './laws/subject.ts'

/** The part of a test runner that the suite needs. */
export type TestFunction = (name: string, body: () => Promise<void>) => unknown

/** Registers one test for each law of `CheckpointStore` with `test`. `make` is called once a test. */
export function testCheckpointStore(test: TestFunction, make: () => Promise<StoreUnderTest>): void {
  for (const [name, law] of [...keepingLaws, ...owningLaws, ...decidingLaws, ...findingLaws]) {
    test(name, async () => {
      const subject = await make()
      try {
        await subject.store.open()
        await law(subject.store, subject)
      } finally {
        await subject.close?.()
      }
    })
  }
}
