/**
 * A generator that waits for something can't be ended from outside: the end waits with it. This one is told first, so
 * that a client that goes away leaves nothing behind.
 */
export function ending<T>(start: (signal: AbortSignal) => AsyncGenerator<T>): AsyncGenerator<T> {
  const abort = new AbortController();
  const generator = start(abort.signal);
  const end = generator.return.bind(generator);
  generator.return = (value) => {
    abort.abort();
    return end(value);
  };
  return generator;
}
