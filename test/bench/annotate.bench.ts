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

interface Setting {
  readonly name: string;
  readonly query: string;
  readonly clients: LoadClient[];
  readonly target: boolean;
}

/** `addAnnotation` over HTTP against the whole system: one client, 50 on one version, 50 on 50 versions. */
export default async function annotate(context: BenchContext): Promise<void> {
  const { quick, seconds, signal, note, report } = context;
  const many = quick ? 3 : CLIENTS;
  const stack = await startStack({ asInstalled: true, env: context.env });
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
    // Settings that are compared take turns: what else the machine does meanwhile meets them alike.
    const turns = quick ? 1 : 3;
    const compare = async (settings: readonly Setting[]) => {
      const wanted = settings.filter(({ name }) => context.wants(name));
      const totals = wanted.map(() => ({ answered: [] as number[], commands: 0, cpu: {} as Record<string, number> }));
      for (let turn = 0; turn < turns; turn++)
        for (const [i, { query, clients }] of wanted.entries()) {
          // What the run before left to project is not this one's.
          await studio.admin.graphql<{ position: string }>('query { position }');
          const before = cpuSeconds(stack);
          const delivery = await load.run({
            kind: 'annotate',
            apiUrl: stack.apiUrl,
            query,
            clients,
            seconds: seconds / turns,
            warmUpSeconds: quick ? 0.2 : turn === 0 ? 3 : 0.5,
          });
          const total = totals[i]!;
          for (const ms of delivery.answered) total.answered.push(ms);
          total.commands += delivery.commands;
          const used = { ...difference(cpuSeconds(stack), before), clients: delivery.cpuSeconds };
          for (const [part, cpu] of Object.entries(used)) total.cpu[part] = (total.cpu[part] ?? 0) + cpu;
        }
      for (const [i, { name, clients, target }] of wanted.entries()) {
        const { answered, commands, cpu } = totals[i]!;
        const alone = clients.length === 1;
        report({
          figure: `${name}: rate`,
          value: answered.length / seconds,
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
        // On a noisy machine these say more than the rate.
        for (const [part, used] of Object.entries(cpu))
          report({ figure: `${name}: cpu ${part}`, value: (used * 1000) / commands, unit: 'ms/annotation' });
        const all = Object.values(cpu).reduce((sum, used) => sum + used, 0);
        report({ figure: `${name}: cpu in all`, value: (all * 1000) / commands, unit: 'ms/annotation' });
      }
    };
    const one = [on(versions[0]!)];
    const sameVersion = versions.map(() => on(versions[0]!));
    const ownVersion = versions.map(on);
    await compare([{ name: '1 client', query: COMMAND, clients: one, target: true }]);
    await compare([
      { name: `${many} clients, one version`, query: COMMAND, clients: sameVersion, target: true },
      { name: `${many} clients, ${many} versions`, query: COMMAND, clients: ownVersion, target: true },
    ]);
    await compare([{ name: '1 client, entity read back', query: WITH_ENTITY, clients: one, target: false }]);
    await compare([
      {
        name: `${many} clients, one version, entity read back`,
        query: WITH_ENTITY,
        clients: sameVersion,
        target: false,
      },
      {
        name: `${many} clients, ${many} versions, entity read back`,
        query: WITH_ENTITY,
        clients: ownVersion,
        target: false,
      },
    ]);
  } finally {
    signal.removeEventListener('abort', stop);
    await load.stop();
    await studio.close();
    await stack.stop();
  }
}
