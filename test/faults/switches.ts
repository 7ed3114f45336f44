import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyReadModels } from '#apps/projector/index.js';
import { ApiClient } from '#apps/studio/api-client.js';
import { choosePort } from '#apps/studio/ports.js';
import { review } from '#libs/read-models/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { foundStudio } from '../bench/studio.js';
import { openLog } from '../e2e/support.js';
import { buildChanged } from '../support/build.js';
import { startService } from '../support/processes.js';
import { startStack } from '../support/stack.js';

export interface SwitchesReport {
  readonly switches: number;
  /** Read models that took the place of others, all switches together. */
  readonly replaced: number;
  readonly reads: number;
  readonly writes: number;
  /** Slowest answer to a query, milliseconds. */
  readonly slowestMs: number;
  /** Everything that is not as it must be; empty when all is well. */
  readonly problems: readonly string[];
}

const ERRORS = 'errors { ... on RefusalInfo { code message } }';
const READERS = 3;
const PATIENCE_MS = 120_000;
const versionLine = (version: number) => `const name = 'review';\nconst version = ${version};`;
/** The release after this one: a column of the review model has another name, so the model has another version. */
const NEXT = {
  'libs/read-models/review.ts': [
    [versionLine(review.version), versionLine(review.version + 1)],
    [
      "@Text('text') text: string;\n  /** First and last frame",
      "@Text('body') text: string;\n  /** First and last frame",
    ],
  ],
} as const;

const QUERY = `query ($id: ID!) { position version(id: $id) { commentCount comments(last: 3) { totalCount edges { node { text } } } } }`;
interface Seen {
  position: string;
  version: { commentCount: number; comments: { totalCount: number; edges: { node: { text: string } }[] } };
}

/**
 * Two releases side by side, of which the later one has a renamed column, under constant reads and writes through both: its
 * read model is built beside the other, then all of them are rebuilt and put in place again and again. Every client speaks
 * to both releases, and must never be refused and never be shown less than before.
 */
export async function switches(options: {
  readonly rounds: number;
  readonly onRound?: (line: string) => void;
  readonly signal?: AbortSignal;
}): Promise<SwitchesReport> {
  const { rounds, onRound, signal } = options;
  const problems: string[] = [];
  const closers: (() => unknown)[] = [];
  let over = false;
  let reads = 0;
  let writes = 0;
  let slowestMs = 0;
  const replaced = new Set<string>();
  try {
    const next = await buildChanged(NEXT);
    closers.push(() => next.remove());
    const stack = await startStack();
    closers.push(() => stack.stop());
    const studio = await foundStudio(stack);
    closers.push(() => studio.close());
    const { versionId } = await studio.addVersion('spot');
    await studio.transcoded([versionId], signal);
    const config = loadConfig(stack.env);
    const log = await openLog(stack);
    closers.push(() => log.close());

    const apis = [stack.apiUrl];
    const at = (who: ApiClient, turn: number): ApiClient =>
      new ApiClient(apis[turn % apis.length]!, undefined, who.token);
    const timed = async <T>(work: Promise<T>): Promise<T> => {
      const begun = performance.now();
      const result = await work;
      slowestMs = Math.max(slowestMs, performance.now() - begun);
      return result;
    };
    const problem = (text: string): void => void (problems.length < 20 && problems.push(text));

    const read = async (who: ApiClient): Promise<void> => {
      let seen: Seen | undefined;
      for (let turn = 0; !over; turn++, reads++) {
        try {
          const now = await timed(at(who, turn).graphql<Seen>(QUERY, { id: versionId }));
          if (seen && BigInt(now.position) < BigInt(seen.position))
            problem(`a reader was shown ${now.position} after ${seen.position}`);
          if (seen && now.version.commentCount < seen.version.commentCount)
            problem(`a reader was shown ${now.version.commentCount} comments after ${seen.version.commentCount}`);
          if (now.version.commentCount !== now.version.comments.totalCount)
            problem(`${now.version.commentCount} comments are counted, ${now.version.comments.totalCount} are there`);
          if (now.version.comments.edges.some(({ node }) => !node.text.startsWith('note '))) problem('a text is wrong');
          seen = now;
        } catch (error) {
          problem(`a query failed: ${String(error)}`);
        }
      }
    };
    const write = async (who: ApiClient): Promise<void> => {
      for (let turn = 0; !over; turn++, writes++) {
        try {
          const text = `note ${randomUUID()}`;
          const { addComment } = await timed(
            at(who, turn).graphql<{ addComment: { position: string; comment: { id: string } } }>(
              `mutation ($input: AddCommentInput!) { addComment(input: $input) { position comment { id } ${ERRORS} } }`,
              { input: { versionId, text } },
            ),
          );
          // The other release knows of it when asked for that position.
          const { node } = await timed(
            at(who, turn + 1).graphql<{ node: { text: string } | null }>(
              `query ($id: ID!, $position: Position) { node(id: $id, atLeast: $position) { ... on Comment { text } } }`,
              { id: addComment.comment.id, position: addComment.position },
            ),
          );
          if (node?.text !== text) problem(`a comment reads ${node?.text} instead of ${text}`);
        } catch (error) {
          problem(`a write or the query after it failed: ${String(error)}`);
        }
        await sleep(20);
      }
    };
    const load = Promise.all([
      ...Array.from({ length: READERS }, () => read(studio.client)),
      write(studio.client),
      write(studio.admin),
    ]);
    closers.push(async () => {
      over = true;
      await load;
    });

    // The later release comes: its projector builds what it needs beside, then its api answers too.
    const projector = await startService('projector', { ...stack.env }, { dist: next.dist });
    closers.push(() => projector.stop());
    const port = await choosePort({ host: '127.0.0.1', preferred: 0, variable: 'API_PORT', strict: false });
    const api = await startService('api', { ...stack.env, API_PORT: String(port) }, { dist: next.dist });
    closers.push(() => api.stop());
    const later = `http://127.0.0.1:${port}`;
    const admin = (api: string): ApiClient => new ApiClient(api, undefined, studio.admin.token);
    const head = String(await log.head());
    for (const until = Date.now() + PATIENCE_MS; ; await sleep(100)) {
      const answer = await admin(later)
        .graphql('query ($head: Position) { position(atLeast: $head) }', { head })
        .catch((error: unknown) => error);
      if (!(answer instanceof Error)) break;
      if (Date.now() > until) throw answer;
    }
    apis.push(later);

    for (let round = 1; round <= rounds; round++) {
      signal?.throwIfAborted();
      const begun = performance.now();
      // Each release has its own version of the renamed one rebuilt, and all they share.
      const operator = admin(apis[round % 2]!);
      await operator.graphql(
        `mutation ($input: RebuildProjectionsInput!) { rebuildProjections(input: $input) { rebuilds { id } ${ERRORS} } }`,
        { input: {} },
      );
      for (const until = Date.now() + PATIENCE_MS; ; await sleep(100)) {
        signal?.throwIfAborted();
        const { rebuilds } = await operator.graphql<{
          rebuilds: { id: string; state: string; error: string | null }[];
        }>('{ rebuilds { id state error } }');
        for (const { state, error } of rebuilds) if (state === 'FAILED') problem(`a rebuild failed: ${error}`);
        const open = rebuilds.filter(({ state }) => ['REQUESTED', 'RUNNING'].includes(state));
        if (open.length > 0 && Date.now() < until) continue;
        if (open.length > 0) problem(`round ${round}: ${open.length} rebuilds did not end`);
        for (const { id, state } of rebuilds) if (state === 'DONE') replaced.add(id);
        break;
      }
      onRound?.(
        `switch ${round}/${rounds}: ${Math.round(performance.now() - begun)} ms; ${reads} reads, ${writes} writes, ` +
          `slowest answer ${Math.round(slowestMs)} ms, ${problems.length} problems`,
      );
    }
    over = true;
    await load;
    const end = String(await log.head());
    for (const api of apis) await admin(api).graphql('query ($end: Position) { position(atLeast: $end) }', { end });
    const { different } = await verifyReadModels({ log, url: config.databases.read });
    problems.push(...different.map((table) => `the rows of ${table} are not those of a clean rebuild`));
    return { switches: rounds, replaced: replaced.size, reads, writes, slowestMs: Math.round(slowestMs), problems };
  } finally {
    for (const close of closers.reverse()) await Promise.resolve(close()).catch(() => undefined);
  }
}
