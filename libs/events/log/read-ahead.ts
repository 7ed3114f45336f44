import { promisify } from 'node:util';

const immediate = promisify(setImmediate);

/**
 * What the source has, in order, read on while what came is being looked at: up to `ahead` items wait. A failure comes after
 * what was read before it. The event loop gets a turn after each item: it hands over what has come.
 */
export async function* readAhead<T>(items: AsyncIterable<T>, ahead: number): AsyncGenerator<T> {
  const source = items[Symbol.asyncIterator]();
  const ready: T[] = [];
  let reading: Promise<void> | undefined;
  let ended = false;
  const more = async (): Promise<void> => {
    const { done, value } = await source.next();
    if (done) ended = true;
    else ready.push(value);
    reading = undefined;
    readOn();
  };
  const readOn = (): void => {
    if (reading || ended || ready.length >= ahead) return;
    reading = more();
    // Whoever waits for it hears of it.
    reading.catch(() => undefined);
  };
  for (;;) {
    readOn();
    if (ready.length > 0) {
      yield ready.shift()!;
      await immediate();
    } else if (ended) return;
    else await reading;
  }
}
