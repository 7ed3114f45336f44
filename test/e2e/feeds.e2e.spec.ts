import { request } from 'node:http';
import { jest } from '@jest/globals';
import { EventSource } from 'eventsource';
import type { EventLog } from '#libs/events/log/index.js';
import { startStack, type TestStack } from '../support/stack.js';
import { domainEvents, eventually, found, hire, openLog, plan, type Person, type Plan } from './support.js';

jest.setTimeout(300_000);

interface CloudEvent {
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly position: string;
  readonly organisationid: string;
  readonly projectid?: string;
  readonly dataschema: string;
  readonly data: Record<string, unknown>;
}

let stack: TestStack;
let log: EventLog;
let admin: Person;
let organisationId: string;
let outsider: Person;
let made: Plan;
let other: Plan;

beforeAll(async () => {
  stack = await startStack({ env: { FEED_HEARTBEAT_SECONDS: '1' } });
  log = await openLog(stack);
  ({ admin, organisationId } = await found(stack, 'Ours'));
  ({ admin: outsider } = await found(stack, 'Others'));
  made = await plan(admin, 'ONE');
  other = await plan(admin, 'TWO');
  await plan(outsider, 'FAR');
});
afterAll(async () => {
  await log?.close();
  await stack?.stop();
});

const get = (who: Person | undefined, path: string, headers: Record<string, string> = {}) =>
  fetch(new URL(path, stack.apiUrl), {
    headers: { ...who?.headers, ...headers },
    signal: AbortSignal.timeout(60_000),
  });

const followers = new Set<Follower>();
afterEach(() => {
  for (const follower of followers) follower.close();
  followers.clear();
});

/** A stock client of Server-Sent Events, which reconnects and resumes by itself. */
class Follower {
  readonly seen: CloudEvent[] = [];
  readonly errors: (number | undefined)[] = [];
  opened = 0;
  readonly source: EventSource;
  #last = '';

  constructor(who: Person, path: string) {
    this.source = new EventSource(new URL(path, stack.apiUrl), {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...who.headers } }),
    });
    followers.add(this);
    this.source.onopen = () => void this.opened++;
    this.source.onerror = (error) => void this.errors.push(error.code);
    this.source.onmessage = ({ data, lastEventId }) => {
      this.seen.push(JSON.parse(data as string) as CloudEvent);
      this.#last = lastEventId;
    };
  }
  get last(): string {
    return this.#last;
  }
  close(): void {
    this.source.close();
  }
  until(holds: (seen: CloudEvent[]) => boolean): Promise<CloudEvent[]> {
    return eventually(() => Promise.resolve(this.seen), holds);
  }
}

const rename = (name: string, projectId = made.projectId) => admin.does('renameProject', { projectId, name });
const own = async (): Promise<string[]> =>
  (await domainEvents(log)).filter((e) => e.metadata.organisationId === organisationId).map((e) => e.id);

describe('the live feed', () => {
  it('gives a stock client the log as CloudEvents, from any position, filtered', async () => {
    const everything = new Follower(admin, '/events?after=0');
    const one = new Follower(admin, `/events?after=0&project=${made.projectId}&category=project,deliverable`);
    const types = new Follower(admin, '/events?type=ProjectRenamed');
    await eventually(
      () => Promise.resolve(types.opened),
      (opened) => opened > 0,
    );
    const { position } = await rename('Harbour at night');
    await everything.until((seen) => seen.at(-1)?.position === position);
    expect(everything.seen.map(({ id }) => id)).toEqual(await own());
    expect(everything.last).toBe(position);
    await one.until((seen) => seen.at(-1)?.position === position);
    expect(new Set(one.seen.map(({ projectid }) => projectid))).toEqual(new Set([made.projectId]));
    expect(new Set(one.seen.map(({ subject }) => subject.split('-')[0]))).toEqual(new Set(['project', 'deliverable']));
    await types.until((seen) => seen.length === 1);
    expect(types.seen[0]).toMatchObject({
      specversion: '1.0',
      type: 'picturelock.ProjectRenamed',
      source: `/organisations/${organisationId}`,
      subject: `project-${made.projectId}`,
      datacontenttype: 'application/json',
      organisationid: organisationId,
      projectid: made.projectId,
      actorid: admin.id,
      actorrole: 'ADMINISTRATOR',
      data: { to: 'Harbour at night' },
    });
    const { pathname } = new URL(types.seen[0]!.dataschema);
    const schema = (await (await fetch(new URL(pathname, stack.apiUrl))).json()) as { title: string };
    expect(schema.title).toBe('ProjectRenamed');
    const asyncapi = (await (await get(undefined, '/asyncapi.json')).json()) as { asyncapi: string };
    expect(asyncapi.asyncapi).toBe('3.0.0');
  });

  it('shows each only what is theirs to see, at that moment', async () => {
    const artist = await hire(admin, 'Kim', 'ARTIST');
    const [theirs, far] = [new Follower(artist, '/events?after=0'), new Follower(outsider, '/events?after=0')];
    await admin.does('addProjectMember', { projectId: made.projectId, userId: artist.id });
    await rename('Now seen');
    await rename('Not seen', other.projectId);
    await rename('Seen again');
    await theirs.until((seen) => seen.some(({ data }) => data['to'] === 'Seen again'));
    const projects = new Set(theirs.seen.map(({ projectid }) => projectid).filter(Boolean));
    expect([...projects]).toEqual([made.projectId]);
    expect(theirs.seen.map(({ type }) => type)).not.toContain('picturelock.CommandRefused');
    const people = theirs.seen.filter(({ type }) => type === 'picturelock.UserRegistered');
    expect(people.map(({ data }) => [data['name'], data['email']])).toEqual([
      ['Ours admin', '[redacted]'],
      ['Kim', artist.email],
    ]);
    expect(new Set(far.seen.map((e) => e.organisationid)).has(organisationId)).toBe(false);

    await admin.does('removeProjectMember', { projectId: made.projectId, userId: artist.id });
    const { position } = await rename('Behind their back');
    const { position: after } = await admin.does('registerUser', {
      email: `x-${artist.email}`,
      name: 'Lee',
      role: 'ARTIST',
      password: 'pass 1234 pass',
    });
    await theirs.until((seen) => seen.some((event) => event.position === after));
    expect(theirs.seen.map((event) => event.position)).not.toContain(position);
  });

  it('misses nothing and doubles nothing through storms of reconnects', async () => {
    const start = await rename('Before the storm');
    const storm = Array.from({ length: 8 }, () => {
      const seen: string[] = [];
      let cursor = start.position;
      let stopped = false;
      let abort = new AbortController();
      const run = (async () => {
        while (!stopped) {
          abort = new AbortController();
          let timer: NodeJS.Timeout | undefined;
          // Cut off a moment after it has begun or, on a machine too busy for the first event in that moment, after that.
          const first = Math.random() < 0.5 ? 'id:' : 'data:';
          try {
            const response = await fetch(new URL(`/events?project=${made.projectId}`, stack.apiUrl), {
              headers: { ...admin.headers, 'last-event-id': cursor },
              signal: abort.signal,
            });
            let rest = '';
            for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
              if (chunk.includes(first)) timer ??= setTimeout(() => abort.abort(), Math.random() * 150);
              const blocks = (rest + chunk).split('\n\n');
              rest = blocks.pop()!;
              for (const block of blocks) {
                const fields = new Map(
                  block.split('\n').map((line) => [line.split(':')[0], line.replace(/^\w+: ?/, '')]),
                );
                if (fields.has('data')) seen.push((JSON.parse(fields.get('data')!) as CloudEvent).id);
                cursor = fields.get('id') ?? cursor;
              }
            }
          } catch (error) {
            if (!abort.signal.aborted) throw error;
          } finally {
            clearTimeout(timer);
          }
        }
      })();
      const stop = (): Promise<void> => {
        stopped = true;
        abort.abort();
        return run;
      };
      return { seen, stop };
    });
    try {
      for (let i = 0; i < 40; i++) await rename(`Storm ${i}`);
      const wanted = (await domainEvents(log, BigInt(start.position)))
        .filter(({ data }) => (data as { projectId?: string }).projectId === made.projectId)
        .map(({ id }) => id);
      expect(wanted).toHaveLength(40);
      await eventually(
        () => Promise.resolve(storm),
        (all) => all.every(({ seen }) => seen.length >= 40),
      );
      for (const { seen } of storm) expect(seen).toEqual(wanted);
    } finally {
      await Promise.all(storm.map(({ stop }) => stop()));
    }
  });

  it('goes on when the api is gone and back', async () => {
    const follower = new Follower(admin, `/events?project=${made.projectId}`);
    await eventually(
      () => Promise.resolve(follower.opened),
      (opened) => opened > 0,
    );
    await rename('Before');
    await follower.until((seen) => seen.length === 1);
    await stack.killService('api');
    await stack.restartService('api');
    await rename('After');
    await follower.until((seen) => seen.length === 2);
    expect(follower.seen.map(({ data }) => data['to'])).toEqual(['Before', 'After']);
  });

  it('gives signs of life that move a silent client on', async () => {
    const response = await get(admin, '/events?type=ProjectArchived');
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    const { position } = await rename('Not of the type');
    while (!text.includes(`id: ${position}\n\n`)) text += (await reader.read()).value ?? '';
    while (!text.endsWith(':\n\n')) text += (await reader.read()).value ?? '';
    expect(text).not.toContain('data:');
    await reader.cancel();
  });

  it('ends with its session', async () => {
    const again = await admin.again();
    const response = await get(again, '/events');
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const ended = response.text();
    await again.read('mutation { logout }');
    await ended;
    expect((await get(again, '/events')).status).toBe(401);
  });

  it('does not wait for who takes nothing, and holds nothing for them', async () => {
    const stuck = request(new URL('/events?after=0', stack.apiUrl), { headers: admin.headers });
    const answer = await new Promise<import('node:http').IncomingMessage>((resolve) => {
      stuck.on('response', resolve);
      stuck.end();
    });
    answer.pause();
    const follower = new Follower(admin, `/events?project=${made.projectId}`);
    await eventually(
      () => Promise.resolve(follower.opened),
      (opened) => opened > 0,
    );
    for (let i = 0; i < 5; i++) await rename(`Meanwhile ${i}`);
    await follower.until((seen) => seen.length === 5);
    stuck.destroy();
  });

  it('refuses what it can’t do, with a code', async () => {
    const code = async (who: Person | undefined, path: string, headers = {}) => {
      const response = await get(who, path, headers);
      const { code: said } = (await response.json()) as { code: string };
      return [response.status, said];
    };
    expect(await code(undefined, '/events')).toEqual([401, 'UNAUTHENTICATED']);
    expect(await code(admin, '/events?type=Nothing')).toEqual([400, 'INVALID_INPUT']);
    expect(await code(admin, '/events?category=nothing')).toEqual([400, 'INVALID_INPUT']);
    expect(await code(admin, '/events?colour=red')).toEqual([400, 'INVALID_INPUT']);
    expect(await code(admin, '/events?after=-1')).toEqual([400, 'INVALID_INPUT']);
    expect(await code(admin, '/events', { 'last-event-id': 'x' })).toEqual([400, 'INVALID_INPUT']);
    expect(await code(admin, '/events?after=9000000000000000000')).toEqual([400, 'POSITION_UNKNOWN']);
    expect(await code(outsider, `/events?project=${made.projectId}`)).toEqual([404, 'NOT_FOUND']);
    const client = await hire(admin, 'Client', 'CLIENT');
    expect(await code(client, `/events?project=${made.projectId}`)).toEqual([404, 'NOT_FOUND']);
    expect(await code(client, '/events/export')).toEqual([403, 'FORBIDDEN']);
    expect(await code(undefined, '/events/export')).toEqual([401, 'UNAUTHENTICATED']);
    const posted = await fetch(new URL('/events', stack.apiUrl), { method: 'POST', headers: admin.headers });
    expect(posted.status).toBe(405);
  });
});

describe('the export', () => {
  const exported = async (who: Person, path: string) => {
    const response = await get(who, path);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'application/x-ndjson; charset=utf-8',
    ]);
    const text = await response.text();
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as CloudEvent);
  };

  it('is a range of the log, each event as a line', async () => {
    const all = await exported(admin, '/events/export');
    expect(all.map(({ id }) => id)).toEqual(await own());
    const [from, to] = [all[2]!.position, all[9]!.position];
    const range = await exported(admin, `/events/export?after=${from}&until=${to}`);
    expect(range.map(({ id }) => id)).toEqual(all.slice(3, 10).map(({ id }) => id));
    const people = await exported(admin, '/events/export?type=UserRegistered&category=user');
    expect(people.length).toBeGreaterThan(2);
    expect(people.every(({ data }) => (data['email'] as string).includes('@'))).toBe(true);
  });
});
