import {
  createSourceEventStream,
  execute,
  Kind,
  visit,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type FieldNode,
  type OperationDefinitionNode,
} from 'graphql';
import type { RequestContext } from './context.js';
import type { ReadSession, ReadStore } from './read-store.js';

/** A subscriber's hold on a snapshot that it shares with all who are told of the same change. */
export interface Taken {
  readonly read: ReadSession;
  /** What operations have answered in it, by {@link questionOf}; undefined where the answer is the asker's own. */
  readonly answers: Map<string, Promise<ExecutionResult | undefined>>;
  /** Gives it up; the last one closes the snapshot. May be called again. */
  release(): void;
}

/**
 * Snapshots that subscribers share: a change that 200 are told of is read once and not 200 times, and what is read for
 * one of them (a person, a comment) is there for all.
 */
export class SharedReads {
  readonly #open = new Map<bigint, { read: ReadSession; answers: Taken['answers']; users: number }>();

  constructor(private readonly store: Pick<ReadStore, 'session'>) {}

  /** A snapshot in which the position is seen. */
  async take(position: bigint): Promise<Taken> {
    let shared = this.#open.get(position);
    if (!shared) {
      shared = { read: this.store.session(), answers: new Map(), users: 0 };
      this.#open.set(position, shared);
    }
    const { read, answers } = shared;
    shared.users++;
    const release = (): void => {
      if (--shared.users > 0) return;
      if (this.#open.get(position) === shared) this.#open.delete(position);
      void read.release();
    };
    let held = true;
    // Nothing is open yet, or it was opened for this position: this does not wait.
    await read.require(position);
    return {
      read,
      answers,
      release: () => {
        if (held) release();
        held = false;
      },
    };
  }
}

const taken = new WeakMap<object, Taken>();

/** The message is resolved in this snapshot, which is given up as soon as it was. */
export function deliveredIn(message: object, hold: Taken): void {
  taken.set(message, hold);
}

/**
 * What an operation asks of a message: the same for two subscribers with the same text and the same values of the
 * variables that are used beneath the root field, whose own arguments (`stackId`, `after`) only choose the messages.
 */
export function questionOf({ document, operationName, variableValues }: ExecutionArgs): string {
  const used = new Set<string>();
  const operation = document.definitions.find(
    (d): d is OperationDefinitionNode =>
      d.kind === Kind.OPERATION_DEFINITION && (!operationName || d.name?.value === operationName),
  );
  const roots = new Set<unknown>(rootFields(document, operation).flatMap(({ arguments: args }) => args ?? []));
  visit(document, {
    Argument: (node) => (roots.has(node) ? false : undefined),
    VariableDefinition: () => false,
    Variable: ({ name }) => void used.add(name.value),
  });
  const values = [...used].sort().map((name) => [name, variableValues?.[name]]);
  return JSON.stringify([document.loc?.source.body, operationName ?? null, values]);
}

function rootFields(document: DocumentNode, operation: OperationDefinitionNode | undefined): FieldNode[] {
  const fields: FieldNode[] = [];
  const walk = (selections: readonly { readonly kind: string }[]): void => {
    for (const selection of selections as OperationDefinitionNode['selectionSet']['selections']) {
      if (selection.kind === Kind.FIELD) fields.push(selection);
      else if (selection.kind === Kind.INLINE_FRAGMENT) walk(selection.selectionSet.selections);
      else
        for (const d of document.definitions)
          if (d.kind === Kind.FRAGMENT_DEFINITION && d.name.value === selection.name.value)
            walk(d.selectionSet.selections);
    }
  };
  if (operation) walk(operation.selectionSet.selections);
  return fields;
}

/** The context of one message: its own snapshot, and word of whether the answer depended on who asks. */
function contextOf(context: RequestContext, read: ReadSession): { context: RequestContext; personal: () => boolean } {
  let personal = false;
  const own = { ...context, read };
  for (const key of ['session', 'viewer', 'operator', 'origin'] as const)
    Object.defineProperty(own, key, {
      enumerable: true,
      get: () => {
        personal = true;
        return context[key];
      },
    });
  return { context: own, personal: () => personal };
}

async function answer(args: ExecutionArgs, question: string, message: object, hold: Taken): Promise<ExecutionResult> {
  const ask = async (): Promise<[ExecutionResult, boolean]> => {
    const { context, personal } = contextOf(args.contextValue as RequestContext, hold.read);
    const result = await execute({ ...args, contextValue: context, rootValue: message });
    return [result, personal()];
  };
  const known = hold.answers.get(question);
  if (known) return (await known) ?? (await ask())[0];
  const first = ask();
  const shared = first.then(([result, personal]) => (personal ? undefined : result));
  shared.catch(() => undefined);
  hold.answers.set(question, shared);
  return (await first)[0];
}

/**
 * `subscribe` of graphql-js, but for messages of {@link deliveredIn}: these are answered once for all who ask the same of
 * them, unless the answer depends on who asks, and their snapshot does not wait for the client to take the answer.
 */
export async function subscribeShared(
  args: ExecutionArgs,
): Promise<AsyncGenerator<ExecutionResult, void, void> | ExecutionResult> {
  const source = await createSourceEventStream(args);
  if (!(Symbol.asyncIterator in source)) return source;
  const question = questionOf(args);
  const messages = (source as AsyncIterable<object>)[Symbol.asyncIterator]() as AsyncGenerator<object, void, void>;
  const mapped = async (
    next: Promise<IteratorResult<object, void>>,
  ): Promise<IteratorResult<ExecutionResult, void>> => {
    const { done, value } = await next;
    if (done) return { done, value: undefined };
    const hold = taken.get(value);
    if (!hold) return { done: false, value: await execute({ ...args, rootValue: value }) };
    try {
      return { done: false, value: await answer(args, question, value, hold) };
    } finally {
      hold.release();
    }
  };
  return {
    next: () => mapped(messages.next()),
    return: () => mapped(messages.return(undefined)),
    throw: (error: unknown) => mapped(messages.throw(error)),
    [Symbol.asyncIterator]() {
      return this;
    },
  } as AsyncGenerator<ExecutionResult, void, void>;
}
