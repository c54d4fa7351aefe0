// How long each fuzzer runs: a second in the test suite, a minute in CI, always on the same input, so that a change is judged by what it
// changed; EVERPOST_FUZZ_SECONDS by hand (npm run fuzz), on new input each time.

import fc from 'fast-check'

const seconds = Number(process.env['EVERPOST_FUZZ_SECONDS'] ?? 1)
const byHand = process.env['EVERPOST_FUZZ_SECONDS'] && !process.env['CI']

/** For node's runner, in milliseconds: whoever needs more hangs. */
export const timeout = seconds * 1000 + 60_000

/** Runs a property until its time is over, and does not wait for the run that is under way then; a failure is shrunk and names its seed. */
export async function fuzz(property: fc.IRawProperty<unknown>): Promise<void> {
  await fc.assert(property as fc.IAsyncProperty<unknown>, { numRuns: 1_000_000_000, interruptAfterTimeLimit: seconds * 1000, markInterruptAsFailure: false, ...(byHand ? {} : { seed: 20_261_124 }) })
}

/** Octets that are often those with a meaning in mail. */
export const octets = (maxLength = 400): fc.Arbitrary<Buffer> =>
  fc.array(fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0, 9, 10, 13, 32, 45, 46, 50, 53, 58, 60, 62, 64, 65) }, { weight: 1, arbitrary: fc.nat(255) }), { maxLength })
    .map((list) => Buffer.from(list))

/** Text that is often full of line ends, quotes, controls and what is not ASCII. */
export const text = (maxLength = 120): fc.Arbitrary<string> =>
  fc.oneof(fc.string({ unit: 'binary', maxLength }), octets(maxLength).map((bytes) => bytes.toString('latin1')), fc.string({ unit: 'grapheme', maxLength }))

/** The octets, cut into chunks anywhere. */
export const chunked = (of: fc.Arbitrary<Buffer>): fc.Arbitrary<{ whole: Buffer; chunks: Buffer[] }> =>
  fc.tuple(of, fc.array(fc.nat(1000), { maxLength: 12 })).map(([whole, cuts]) => {
    const at = [0, ...cuts.map((cut) => cut % (whole.length + 1)).sort((a, b) => a - b), whole.length]
    return { whole, chunks: at.slice(1).map((end, i) => whole.subarray(at[i], end)) }
  })
