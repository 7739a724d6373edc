/** The machine may not do what a crash test needs; says what would let it. The command ends with 69. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}
