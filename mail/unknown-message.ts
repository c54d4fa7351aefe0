// A message that the database does not know, though its workflow runs: what is left of mail that was accepted after the state that
// the database was taken back to. No repetition mends that, so the workflow ends with it.

export class UnknownMessage extends Error {
  override name = 'UnknownMessage'

  constructor() {
    super('the database does not know this message')
  }
}
