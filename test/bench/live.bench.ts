import { startStack } from '../support/stack.js';
import { type BenchContext, percentile } from './kit.js';
import { startLoad } from './load.js';
import { foundStudio } from './studio.js';

const ERRORS = 'errors { ... on RefusalInfo { code message } }';
const COMMAND = `mutation ($input: AddAnnotationInput!) { addAnnotation(input: $input) { position ${ERRORS} } }`;
const SUBSCRIPTION = `subscription ($stackId: ID!) {
  stackChanged(stackId: $stackId) {
    position eventType at
    actor { id name }
    comment { id text author { id name } range { in out timecodeIn } annotations { id colour } }
    annotation { id commentId colour strokeWidth }
  } }`;

/** From sending a mutation to the message that a subscriber of the stack gets of it, through log and projection. */
export default async function live({ quick, seconds, signal, env, report }: BenchContext): Promise<void> {
  const stack = await startStack({ asInstalled: true, env });
  const stop = () => void stack.stack.abort();
  signal.addEventListener('abort', stop, { once: true });
  const load = await startLoad();
  const studio = await foundStudio(stack);
  try {
    const { stackId, versionId } = await studio.addVersion('spot');
    await studio.transcoded([versionId], signal);
    const delivery = await load.run({
      kind: 'live',
      apiUrl: stack.apiUrl,
      query: COMMAND,
      subscription: SUBSCRIPTION,
      clients: [{ token: studio.admin.token!, versionId }],
      stackId,
      messages: quick ? 10 : Math.max(100, Math.round(seconds * 25)),
    });
    report({ figure: 'mutation to subscriber: p50', value: percentile(delivery.received, 50), unit: 'ms', atMost: 60 });
    report({ figure: 'mutation to subscriber: p99', value: percentile(delivery.received, 99), unit: 'ms' });
    report({ figure: 'mutation to its own answer: p50', value: percentile(delivery.answered, 50), unit: 'ms' });
  } finally {
    signal.removeEventListener('abort', stop);
    await load.stop();
    await studio.close();
    await stack.stop();
  }
}
