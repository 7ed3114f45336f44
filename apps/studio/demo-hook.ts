import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FORWARDS, KurrentDBClient, START } from '@kurrent/kurrentdb-client';
import type { Settings } from '#libs/runtime/index.js';
import type { StackUrls } from './stack.js';

/** What `apps/studio/demo.ts` gets to make the demo studio with. */
export interface DemoContext {
  /** The public API, as this machine reaches it. */
  apiUrl: string;
  urls: StackUrls;
  settings: Settings;
  /** The environment the services run with. */
  env: NodeJS.ProcessEnv;
  /** A folder for the clips it renders; removed by the demo itself. */
  workDir: string;
  /** True when an earlier start was interrupted in the middle: go on from there. */
  resume: boolean;
  /** What it noted last time with `remember`; empty at first. */
  memory: Readonly<Record<string, unknown>>;
  /** Durable notes for `resume`, for instance passwords chosen. Kept in demo.json, readable by the owner alone. */
  remember(notes: Record<string, unknown>): void;
  /** Live progress; `done` and `total` in any unit. */
  report(progress: { text: string; done?: number; total?: number }): void;
  signal: AbortSignal;
}

export interface DemoLogin {
  name: string;
  email: string;
  password: string;
  role: string;
}

export interface DemoResult {
  /** Path of the page to open first, for instance `/`. */
  path: string;
  logins: DemoLogin[];
}

/** The module `demo.ts` must be. */
export interface DemoModule {
  seedDemo(context: DemoContext): Promise<DemoResult>;
}

interface DemoFile {
  state: 'seeding' | 'done';
  memory: Record<string, unknown>;
  result?: DemoResult;
}

const demoFile = (home: string): string => join(home, 'demo.json');

function read(home: string): DemoFile | undefined {
  try {
    return JSON.parse(readFileSync(demoFile(home), 'utf8')) as DemoFile;
  } catch {
    return undefined;
  }
}

function write(home: string, content: DemoFile): void {
  const part = `${demoFile(home)}.part`;
  writeFileSync(part, JSON.stringify(content, undefined, 2), { mode: 0o600 });
  renameSync(part, demoFile(home));
}

/** True when nobody has written a domain event yet (system streams begin with $ and don't count). */
export async function isLogEmpty(eventStoreUrl: string): Promise<boolean> {
  const client = KurrentDBClient.connectionString(eventStoreUrl);
  try {
    const events = client.readAll({ direction: FORWARDS, fromPosition: START, maxCount: 500 });
    for await (const { event } of events) if (event && !event.streamId.startsWith('$')) return false;
    return true;
  } finally {
    await client.dispose();
  }
}

/** The demo module of this build, or undefined when it has none. */
export async function loadDemo(): Promise<DemoModule | undefined> {
  const file = join(dirname(fileURLToPath(import.meta.url)), 'demo.js');
  return existsSync(file) ? ((await import(pathToFileURL(file).href)) as DemoModule) : undefined;
}

/** Seeds the demo into an empty log, or finishes what was interrupted; returns its logins whenever there is a demo. */
export async function demo(
  context: Omit<DemoContext, 'resume' | 'memory' | 'remember'>,
  logWasEmpty: boolean,
  module: DemoModule | undefined,
): Promise<DemoResult | undefined> {
  const home = context.settings.home;
  const before = read(home);
  if (before?.state === 'done') return before.result;
  if (!module || !(logWasEmpty || before?.state === 'seeding')) return undefined;
  let memory = before?.memory ?? {};
  write(home, { state: 'seeding', memory });
  const result = await module.seedDemo({
    ...context,
    resume: before !== undefined,
    memory,
    remember: (notes) => {
      memory = { ...memory, ...notes };
      write(home, { state: 'seeding', memory });
    },
  });
  write(home, { state: 'done', memory: {}, result });
  return result;
}
