import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildSchema, getNamedType, GraphQLUnionType, isObjectType, type GraphQLObjectType } from 'graphql';
import { createClient, type Client } from 'graphql-ws';
import { Upload } from 'tus-js-client';
import WebSocket from 'ws';
import { categories, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { openEventLog, type EventLog } from '#libs/events/log/index.js';
import { loadConfig, setupToken } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { ROOT } from '../support/build.js';
import type { TestStack } from '../support/stack.js';

/** The contract as clients get it. */
export const schema = buildSchema(readFileSync(join(ROOT, 'schema.graphql'), 'utf8'));
export const mutations = schema.getMutationType()!.getFields();
export const queries = schema.getQueryType()!.getFields();
export const subscriptions = schema.getSubscriptionType()!.getFields();

export interface EdgeError {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly extensions?: { readonly code?: string; readonly path?: readonly string[] } & Record<string, unknown>;
}
export interface Answer<T> {
  readonly status: number;
  readonly data?: T | null;
  readonly errors?: readonly EdgeError[];
}
export interface RefusedWith {
  readonly __typename: string;
  readonly code: string;
  readonly message: string;
  readonly path: readonly string[] | null;
  readonly currentVersionId?: string | null;
  readonly currentVersionNumber?: number | null;
  readonly expectedRevision?: number | null;
  readonly currentRevision?: number | null;
  readonly legal?: readonly string[];
}
export type Payload<T> = T & { readonly position: string | null; readonly errors: readonly RefusedWith[] };

const REFUSAL = schema.getType('Refusal') as GraphQLUnionType;
/** Every field of every kind of refusal, so that nothing one says can go unread. */
const ERRORS = `errors { ${REFUSAL.getTypes()
  .map((type) => `... on ${type.name} { __typename ${Object.keys(type.getFields()).join(' ')} }`)
  .join(' ')} }`;

/** The document of a mutation with one `input`, selecting position (where there is one), refusals, and more. */
export function mutationDocument(name: string, selection = ''): string {
  const field = mutations[name]!;
  const payload = getNamedType(field.type) as GraphQLObjectType;
  const position = isObjectType(payload) && payload.getFields()['position'] ? 'position' : '';
  return `mutation ($input: ${String(field.args[0]!.type)}) { ${name}(input: $input) { ${position} ${ERRORS} ${selection} } }`;
}

export class EdgeFailure extends Error {
  override readonly name = 'EdgeFailure';
  constructor(readonly answer: Answer<unknown>) {
    super(JSON.stringify(answer.errors ?? answer));
  }
  get code(): string | undefined {
    return this.answer.errors?.[0]?.extensions?.code;
  }
}

/** Somebody at the public API. Without a token: anybody. */
export class Person {
  constructor(
    readonly api: string,
    readonly token?: string,
    readonly id = '',
    readonly name = 'anybody',
    readonly email = '',
    readonly password = '',
  ) {}

  get headers(): Record<string, string> {
    return this.token ? { authorization: `Bearer ${this.token}` } : {};
  }

  async send<T>(body: unknown, headers: Record<string, string> = {}): Promise<Answer<T>> {
    const response = await fetch(new URL('/graphql', this.api), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...this.headers, ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await response.text();
    try {
      return { status: response.status, ...(JSON.parse(text) as object) };
    } catch {
      throw new Error(`${response.status}, not JSON: ${text.slice(0, 300)}`);
    }
  }

  ask<T>(query: string, variables: Record<string, unknown> = {}): Promise<Answer<T>> {
    return this.send<T>({ query, variables });
  }

  /** @throws EdgeFailure */
  async read<T>(query: string, variables: Record<string, unknown> = {}): Promise<T> {
    const answer = await this.ask<T>(query, variables);
    if (answer.errors || !answer.data) throw new EdgeFailure(answer);
    return answer.data;
  }

  /** A mutation's payload, refused or not. @throws EdgeFailure */
  async tell<T = object>(name: string, input: object, selection = ''): Promise<Payload<T>> {
    const data = await this.read<Record<string, Payload<T>>>(mutationDocument(name, selection), { input });
    return data[name]!;
  }

  /** A mutation that must be accepted. */
  async does<T = object>(name: string, input: object, selection = ''): Promise<Payload<T> & { position: string }> {
    const payload = await this.tell<T>(name, input, selection);
    if (payload.errors.length > 0) throw new Error(`${name} was refused: ${JSON.stringify(payload.errors)}`);
    return payload as Payload<T> & { position: string };
  }

  /** The refusals of a mutation that must be refused and must have written nothing. */
  async refused(name: string, input: object, selection = ''): Promise<readonly RefusedWith[]> {
    const payload = await this.tell<Record<string, unknown>>(name, input, selection);
    if (payload.errors.length === 0) throw new Error(`${name} was not refused: ${JSON.stringify(payload)}`);
    const { errors, position, ...rest } = payload;
    expect(position ?? null).toBeNull();
    for (const value of Object.values(rest)) expect(value ?? null).toBeNull();
    return errors;
  }

  /** Signs in once more: the same person with another session. */
  async again(): Promise<Person> {
    return new Person(this.api).login(this.email, this.password);
  }

  async login(email: string, password: string): Promise<Person> {
    const { token, user } = await this.does<{ token: string; user: { id: string; name: string } }>(
      'login',
      { email, password, device: 'test' },
      'token user { id name }',
    );
    return new Person(this.api, token, user.id, user.name, email, password);
  }

  media(url: string, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(new URL(url, this.api), { headers });
  }

  /** What the read models have reached. */
  async position(): Promise<string> {
    return (await this.read<{ position: string }>('{ position }')).position;
  }

  follow<M extends object>(
    field: string,
    args: Record<string, string>,
    selection: string,
    after?: string,
  ): Promise<Feed<M>> {
    return Feed.open<M>(this, field, args, selection, after);
  }
}

export interface Message {
  readonly position: string;
  readonly eventType: string;
}
export interface Ending {
  readonly kind: 'error' | 'closed' | 'complete';
  readonly code?: string | number;
  readonly detail?: unknown;
}

/** One subscription over graphql-ws, as a window holds it: its socket can be cut, and it resumes after what it has seen. */
export class Feed<M extends object = Message> {
  readonly messages: M[] = [];
  /** Connections so far. */
  connections = 0;
  ending: Ending | undefined;
  #client: Client | undefined;
  #socket: WebSocket | undefined;
  #cutting = false;
  #wake: (() => void)[] = [];

  private constructor(
    private readonly person: Person,
    private readonly field: string,
    private readonly args: Record<string, string>,
    private readonly selection: string,
    private after: string | undefined,
  ) {}

  static async open<M extends object>(
    person: Person,
    field: string,
    args: Record<string, string>,
    selection: string,
    after?: string,
  ): Promise<Feed<M>> {
    const feed = new Feed<M>(person, field, args, selection, after);
    await feed.#connect();
    return feed;
  }

  /** Drops the line without a goodbye; a new one resumes after the last message that was seen. */
  async cut(): Promise<void> {
    if (this.ending) throw new Error(`already ended: ${JSON.stringify(this.ending)}`);
    this.#cutting = true;
    this.#socket?.terminate();
    await this.#connect();
  }

  async until(done: (messages: readonly M[]) => boolean, ms = 60_000): Promise<void> {
    const deadline = Date.now() + ms;
    while (!done(this.messages)) {
      if (this.ending) throw new Error(`${this.field} ended: ${JSON.stringify(this.ending)}`);
      await this.#next(deadline, () => `${this.field} of ${this.person.name}: ${JSON.stringify(this.messages)}`);
    }
  }

  /** How it ends by itself. */
  async ended(ms = 20_000): Promise<Ending> {
    const deadline = Date.now() + ms;
    while (!this.ending) await this.#next(deadline, () => `${this.field} of ${this.person.name} is still open`);
    return this.ending;
  }

  async close(): Promise<void> {
    this.#cutting = true;
    await this.#client?.dispose();
  }

  async #next(deadline: number, story: () => string): Promise<void> {
    const left = deadline - Date.now();
    if (left <= 0) throw new Error(`Nothing more came. ${story()}`);
    const abort = new AbortController();
    const woken = new Promise<void>((resolve) => this.#wake.push(resolve));
    await Promise.race([woken, sleep(left, undefined, { signal: abort.signal }).catch(() => undefined)]);
    abort.abort();
  }

  #tell(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  async #connect(): Promise<void> {
    const { field, args, selection, person } = this;
    const types = Object.fromEntries(subscriptions[field]!.args.map((arg) => [arg.name, String(arg.type)]));
    const variables = { ...args, ...(this.after === undefined ? {} : { after: this.after }) };
    const names = Object.keys(variables);
    const query =
      `subscription${names.length ? `(${names.map((n) => `$${n}: ${types[n]}`).join(', ')})` : ''} ` +
      `{ ${field}${names.length ? `(${names.map((n) => `${n}: $${n}`).join(', ')})` : ''} { ${selection} } }`;
    let mine: WebSocket | undefined;
    let acknowledged: () => void = () => undefined;
    const ready = new Promise<void>((resolve) => (acknowledged = resolve));
    const client = createClient({
      url: new URL('/graphql', person.api).toString().replace(/^http/, 'ws'),
      webSocketImpl: class extends WebSocket {
        constructor(url: string, protocols: string) {
          super(url, protocols);
          // eslint-disable-next-line @typescript-eslint/no-this-alias
          mine = this;
        }
      },
      retryAttempts: 0,
      lazy: true,
      connectionParams: { token: person.token },
      on: { connected: () => acknowledged(), closed: () => acknowledged() },
    });
    this.#client = client;
    this.#cutting = false;
    this.connections++;
    const current = () => this.#client === client && !this.#cutting;
    client.subscribe<Record<string, M>>(
      { query, variables },
      {
        next: ({ data, errors }) => {
          // What a dead line still delivers was not seen.
          if (!current()) return;
          const message = data?.[field];
          if (errors)
            this.ending ??= { kind: 'error', code: errors[0]?.extensions?.['code'] as string, detail: errors };
          else if (message) {
            this.messages.push(message);
            if ('position' in message) this.after = String(message.position);
          }
          this.#tell();
        },
        error: (error) => {
          if (!current()) return;
          const list = error as { extensions?: { code?: string } }[];
          const close = error as { code?: number; reason?: string };
          this.ending = Array.isArray(error)
            ? { kind: 'error', code: list[0]?.extensions?.code, detail: error }
            : { kind: 'closed', code: close.code, detail: close.reason ?? String(error) };
          this.#tell();
        },
        complete: () => {
          if (!current()) return;
          this.ending ??= { kind: 'complete' };
          this.#tell();
        },
      },
    );
    await ready;
    this.#socket = mine;
  }
}

export const sha256 = async (file: string): Promise<string> => {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
};

export interface UploadOptions {
  /** Bytes of one PATCH. */
  readonly chunkSize?: number;
  /** Abort once this many bytes were taken, and go on with a new client. */
  readonly cutAt?: number;
}
export interface Uploaded {
  readonly uploadId: string;
  /** Offset at which the new client went on; null when nothing was cut. */
  readonly resumedAt: number | null;
}

/** An upload by tus-js-client, as the web app does it. @throws tus DetailedError */
export async function upload(
  person: Person,
  file: string,
  filename: string,
  { chunkSize = 256 * 1024, cutAt }: UploadOptions = {},
): Promise<Uploaded> {
  const once = (url: string | null, abortAt: number | undefined) =>
    new Promise<{ url: string; firstOffset: number; done: boolean }>((resolve, reject) => {
      let firstOffset = -1;
      const task: Upload = new Upload(createReadStream(file), {
        endpoint: new URL('/uploads', person.api).toString(),
        uploadUrl: url,
        uploadSize: readFileSync(file).length,
        chunkSize,
        retryDelays: null,
        storeFingerprintForResuming: false,
        headers: person.headers,
        metadata: { filename, filetype: 'video/mp4' },
        onBeforeRequest: (request) => {
          if (request.getMethod() === 'PATCH' && firstOffset < 0)
            firstOffset = Number(request.getHeader('Upload-Offset'));
        },
        onProgress: (sent) => {
          if (abortAt === undefined || sent < abortAt) return;
          abortAt = undefined;
          // In the middle of a chunk: the line goes, whatever the server has taken by then is what counts.
          task.abort(false).then(() => resolve({ url: task.url!, firstOffset, done: false }), reject);
        },
        onSuccess: () => resolve({ url: task.url!, firstOffset, done: true }),
        onError: reject,
      });
      task.start();
    });
  const first = await once(null, cutAt);
  const idOf = (url: string) => new URL(url).pathname.split('/').pop()!;
  if (first.done) return { uploadId: idOf(first.url), resumedAt: null };
  const second = await once(first.url, undefined);
  return { uploadId: idOf(second.url), resumedAt: second.firstOffset };
}

/** Code and status of a refused tus upload. */
export function tusRefusal(error: unknown): { status: number; code: string } {
  const { originalResponse } = error as {
    originalResponse?: { getStatus(): number; getBody(): string } | null;
  };
  if (!originalResponse) throw error;
  return {
    status: originalResponse.getStatus(),
    code: (JSON.parse(originalResponse.getBody()) as { code: string }).code,
  };
}

export const LABELS = {
  ingest: { READY: 'Waiting for footage', APPROVED: 'Ingested' },
  edit: {
    READY: 'Ready for edit',
    IN_REVIEW: 'Ready for review',
    CHANGES_REQUESTED: 'Revision needed',
    APPROVED: 'Final',
  },
  colour: { READY: 'Ready for colour' },
};
const labelsOf = (labels: object) =>
  Object.entries(labels).map(([state, label]) => ({ state, label: label as string }));

/** Ingest by the shooter, edit approved by the client, colour. */
export const RELAY = [
  { key: 'ingest', name: 'Ingest', completesOn: 'UPLOAD', labels: labelsOf(LABELS.ingest) },
  {
    key: 'edit',
    name: 'Edit',
    dependsOn: ['ingest'],
    approvalPolicy: { kind: 'ROLES', roles: ['CLIENT'] },
    labels: labelsOf(LABELS.edit),
  },
  { key: 'colour', name: 'Colour', dependsOn: ['edit'], labels: labelsOf(LABELS.colour) },
];

/** Founds a studio and signs its administrator in. */
export async function found(stack: TestStack, name: string): Promise<{ organisationId: string; admin: Person }> {
  const anybody = new Person(stack.apiUrl);
  const email = `admin-${randomUUID()}@test.example`;
  const password = `pass ${randomUUID()}`;
  const { organisation } = await anybody.does<{ organisation: { id: string } }>(
    'foundOrganisation',
    {
      setupToken: setupToken(loadConfig(stack.env).keys.master),
      name,
      administrator: { email, name: `${name} admin`, password },
    },
    'organisation { id }',
  );
  return { organisationId: organisation.id, admin: await anybody.login(email, password) };
}

/** A new person of the administrator's studio, signed in. */
export async function hire(admin: Person, name: string, role: string): Promise<Person> {
  const email = `${name.toLowerCase()}-${randomUUID()}@test.example`;
  const password = `pass ${randomUUID()}`;
  await admin.does('registerUser', { email, name, role, password });
  return new Person(admin.api).login(email, password);
}

export interface Plan {
  readonly templateId: string;
  readonly projectId: string;
  readonly deliverableId: string;
  readonly stages: Readonly<Record<string, string>>;
}

/** A project with one deliverable on the pipeline. */
export async function plan(admin: Person, code: string, stages: readonly object[] = RELAY): Promise<Plan> {
  const { pipelineTemplate } = await admin.does<{ pipelineTemplate: { id: string } }>(
    'createPipelineTemplate',
    { name: `${code} pipeline`, stages },
    'pipelineTemplate { id }',
  );
  const { project } = await admin.does<{ project: { id: string } }>(
    'createProject',
    { name: `Project ${code}`, code, templateId: pipelineTemplate.id },
    'project { id }',
  );
  const { deliverable } = await admin.does<{ deliverable: { id: string; stages: { id: string; key: string }[] } }>(
    'createDeliverable',
    { projectId: project.id, name: `${code} spot` },
    'deliverable { id stages { id key } }',
  );
  return {
    templateId: pipelineTemplate.id,
    projectId: project.id,
    deliverableId: deliverable.id,
    stages: Object.fromEntries(deliverable.stages.map((s) => [s.key, s.id])),
  };
}

/** Uploads a file and makes it the stage's current version. */
export async function submit(person: Person, stageId: string, file: string, filename: string): Promise<string> {
  const { uploadId } = await upload(person, file, filename);
  const { version } = await person.does<{ version: { id: string } }>(
    'addVersion',
    { stageId, uploadId, note: filename },
    'version { id }',
  );
  return version.id;
}

/** Polls until it holds: for what follows from an event in another process. */
export async function eventually<T>(look: () => Promise<T>, holds: (seen: T) => boolean, ms = 60_000): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    if (Date.now() > deadline) throw new Error(`It did not come to pass; last seen: ${JSON.stringify(seen)}`);
    await sleep(100);
  }
}

export const transcoded = (person: Person, versionId: string, status: 'READY' | 'FAILED' = 'READY'): Promise<unknown> =>
  eventually(
    () =>
      person.read<{ version: { media: { status: string; failure: { reason: string } | null } } }>(
        'query ($id: ID!) { version(id: $id) { media { status failure { code reason } } } }',
        { id: versionId },
      ),
    ({ version: { media } }) => {
      if (media.status !== 'PROCESSING' && media.status !== status) throw new Error(JSON.stringify(media));
      return media.status === status;
    },
    120_000,
  );

/** Until the copies of each reference beside the version are there, or could not be made. */
export const referenceTranscoded = (person: Person, versionId: string): Promise<unknown> =>
  eventually(
    () =>
      person.read<{ version: { references: { media: { status: string } }[] } }>(
        'query ($id: ID!) { version(id: $id) { references { media { status } } } }',
        { id: versionId },
      ),
    ({ version: { references } }) => references.every(({ media }) => media.status !== 'PROCESSING'),
    120_000,
  );

export const compared = (person: Person, comparisonId: string): Promise<unknown> =>
  eventually(
    () =>
      person.read<{ comparison: { status: string } }>('query ($id: ID!) { comparison(id: $id) { status } }', {
        id: comparisonId,
      }),
    ({ comparison }) => comparison.status === 'READY',
    120_000,
  );

export const stateOf = (person: Person, stageId: string, state: string): Promise<unknown> =>
  eventually(
    () => person.read<{ stage: { state: string } }>('query ($id: ID!) { stage(id: $id) { state } }', { id: stageId }),
    ({ stage }) => stage.state === state,
  );

/** The log itself, with the keys of the studio. */
export async function openLog(stack: TestStack): Promise<EventLog> {
  const config = loadConfig(stack.env);
  const secrets = await openSecrets({ databaseUrl: config.databases.secrets, masterKey: config.keys.master });
  const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys });
  return {
    append: (...args) => log.append(...args),
    readStream: (...args) => log.readStream(...args),
    readAll: (...args) => log.readAll(...args),
    subscribe: (...args) => log.subscribe(...args),
    head: () => log.head(),
    close: async () => {
      await log.close();
      await secrets.close();
    },
  };
}

const DOMAIN = categories.filter((category) => category !== 'audit');

export async function collect(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  const all: RecordedEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}
/** Every domain event after a position: what was decided, without what was refused. */
export const domainEvents = (log: EventLog, after: bigint | null = null): Promise<RecordedEvent[]> =>
  collect(log.readAll({ after, categories: DOMAIN }));
export const auditEvents = (log: EventLog, after: bigint | null = null): Promise<RecordedEvent[]> =>
  collect(log.readAll({ after, categories: ['audit'] }));
