import { startStack } from '../support/stack.js';
import { type BenchContext, cpuSeconds, difference, percentile } from './kit.js';
import { type LoadClient, startLoad } from './load.js';
import { foundStudio } from './studio.js';

const ERRORS = 'errors { ... on RefusalInfo { code message } }';
/** The command and its acknowledgement: it is in the log, here is where. */
const COMMAND = `mutation ($input: AddAnnotationInput!) { addAnnotation(input: $input) { position ${ERRORS} } }`;
/** As a front end asks: with what was written, so that the answer waits for the projection. */
const WITH_ENTITY = `mutation ($input: AddAnnotationInput!) {
  addAnnotation(input: $input) {
    position ${ERRORS}
    annotation { id versionId colour strokeWidth author { id name } range { in out timecodeIn } }
    comment { id versionId text createdAt resolved author { id name } }
  } }`;

const CLIENTS = 50;

/** `addAnnotation` over HTTP against the whole system: one client, 50 on one version, 50 on 50 versions. */
export default async function annotate(context: BenchContext): Promise<void> {
  const { quick, seconds, signal, note, report } = context;
  const many = quick ? 3 : CLIENTS;
  const stack = await startStack({ env: context.env });
  const stop = () => void stack.stack.abort();
  signal.addEventListener('abort', stop, { once: true });
  const load = await startLoad();
  const studio = await foundStudio(stack);
  try {
    note(`${many} stacks with a version each`);
    const versions: string[] = [];
    for (let i = 0; i < many; i++) versions.push((await studio.addVersion(`spot ${i}`)).versionId);
    await studio.transcoded(versions, signal);

    const { token } = studio.admin;
    const on = (versionId: string): LoadClient => ({ token: token!, versionId });
    const warmUpSeconds = quick ? 0.2 : 3;
    const measure = async (name: string, query: string, clients: LoadClient[], target: boolean) => {
      if (!context.wants(name)) return;
      // What the run before left to project is not this one's.
      await studio.admin.graphql<{ position: string }>('query { position }');
      const before = cpuSeconds(stack);
      const delivery = await load.run({
        kind: 'annotate',
        apiUrl: stack.apiUrl,
        query,
        clients,
        seconds,
        warmUpSeconds,
      });
      const used = difference(cpuSeconds(stack), before);
      const { answered } = delivery;
      const alone = clients.length === 1;
      report({
        figure: `${name}: rate`,
        value: answered.length / delivery.seconds,
        unit: 'annotations/s',
        ...(target && !alone ? { atLeast: 600 } : {}),
      });
      report({
        figure: `${name}: p50`,
        value: percentile(answered, 50),
        unit: 'ms',
        ...(target && alone ? { atMost: 15 } : {}),
      });
      report({ figure: `${name}: p99`, value: percentile(answered, 99), unit: 'ms' });
      // The warm-up's commands cost too: scaled to the whole run.
      const commands = answered.length * (1 + warmUpSeconds / seconds);
      for (const [part, cpu] of Object.entries(used))
        if (part !== 'workers')
          report({ figure: `${name}: cpu ${part}`, value: (cpu * 1000) / commands, unit: 'ms/annotation' });
    };
    const one = [on(versions[0]!)];
    const sameVersion = versions.map(() => on(versions[0]!));
    const ownVersion = versions.map(on);
    await measure('1 client', COMMAND, one, true);
    await measure(`${many} clients, one version`, COMMAND, sameVersion, true);
    await measure(`${many} clients, ${many} versions`, COMMAND, ownVersion, true);
    await measure('1 client, entity read back', WITH_ENTITY, one, false);
    await measure(`${many} clients, one version, entity read back`, WITH_ENTITY, sameVersion, false);
    await measure(`${many} clients, ${many} versions, entity read back`, WITH_ENTITY, ownVersion, false);
  } finally {
    signal.removeEventListener('abort', stop);
    await load.stop();
    await studio.close();
    await stack.stop();
  }
}
