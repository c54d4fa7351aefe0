// Answers that are kept for a while: who asks again meanwhile gets the same one, and who asks at the same time waits for it, too.

/** Answers kept at most, of one kind; the oldest go first. */
const most = 10_000

/** `time`: milliseconds. An answer that is not `worth` it is given to those who wait for it, and forgotten. `ask` should not reject: a failure is kept like an answer. */
export function remembered<T>(ask: (key: string) => Promise<T>, time: number, worth: (answer: T) => boolean = () => true): (key: string) => Promise<T> {
  const answers = new Map<string, { until: number; answer: Promise<T> }>()
  return async (key) => {
    const known = answers.get(key)
    if (known && known.until > performance.now()) return await known.answer
    const answer = ask(key)
    answers.delete(key)
    answers.set(key, { until: performance.now() + time, answer })
    if (answers.size > most) answers.delete(answers.keys().next().value!)
    const found = await answer
    if (!worth(found) && answers.get(key)?.answer === answer) answers.delete(key)
    return found
  }
}
