import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  definitions,
  type AnyEvent,
  type Command,
  type Decider,
  type DomainEvent,
} from '#libs/events/catalogue/index.js';
import { categoryOf, commandSchemas, deciders, REFUSALS, streamIdOf, type Category } from './index.js';
import { command, fold, people, uuid } from './testing.js';

const here = join(process.cwd(), 'libs', 'domain');
const sources = readdirSync(here, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts') && !file.endsWith('testing.ts'))
  .map((file) => ({ file, text: readFileSync(join(here, file), 'utf8') }));
const categories = Object.keys(deciders) as Category[];
const deciderOf = (category: Category) => deciders[category] as unknown as Decider<unknown, Command, DomainEvent>;

describe('refusal codes', () => {
  const used = new Set(
    sources.flatMap(({ text }) => [...text.matchAll(/\brefused\(\s*'([A-Z_]+)'/g)].map((m) => m[1]!)),
  );

  it('are all in the table, and the table has no others', () => {
    expect([...used].sort()).toEqual(Object.keys(REFUSALS).sort());
  });

  it('are given in one way only, so that the test above sees them', () => {
    for (const { file, text } of sources) {
      if (file !== 'kit.ts')
        expect({ file, ways: text.match(/\brefuse\(|refused: true/g) }).toEqual({ file, ways: null });
      const calls = text.match(/\brefused\(/g)?.length ?? 0;
      const literal = text.match(/\brefused\(\s*'[A-Z_]+'/g)?.length ?? 0;
      expect({ file, calls }).toEqual({ file, calls: literal });
    }
  });

  it('have a name that shouts and one line for people', () => {
    for (const [code, description] of Object.entries(REFUSALS)) {
      expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
      expect(description).toMatch(/^[^\n]{10,160}\.$/);
    }
  });
});

describe('the room', () => {
  it('opens only onto the catalogue, zod and timecode', () => {
    for (const { file, text } of sources) {
      for (const [, from] of text.matchAll(/from '([^']+)'/g)) {
        const allowed = ['#libs/events/catalogue/index.js', '#libs/media/timecode.js', 'zod'].includes(from!);
        expect({ file, from, allowed: allowed || from!.startsWith('.') }).toEqual({ file, from, allowed: true });
      }
    }
  });

  it('has no clock and no dice', () => {
    for (const { file, text } of sources) {
      const impure = text.match(/Date\.now|new Date\(|Math\.random|randomUUID|process\./g);
      expect({ file, impure }).toEqual({ file, impure: null });
    }
  });
});

describe('the registry', () => {
  it('has a decider for every category of domain events, under its own name', () => {
    const written = new Set<string>(definitions.map((d) => d.category));
    written.delete('audit');
    expect([...categories].sort()).toEqual([...written].sort());
    for (const category of categories) expect(deciders[category].category).toBe(category);
  });

  it('knows the stream of every command', () => {
    for (const [type, schema] of Object.entries(commandSchemas)) {
      const category = categoryOf(type);
      const field = Object.keys(schema.shape).find(
        (key) => streamIdOf({ type, data: { [key]: 'this one' } }) === 'this one',
      );
      expect({ type, category, field }).toEqual({ type, category, field: expect.any(String) });
    }
    expect(
      streamIdOf(command('AssignStage', { deliverableId: uuid(1), stageId: uuid(2), userId: people.artist.userId })),
    ).toBe(uuid(1));
    expect(() => categoryOf('MakeCoffee')).toThrow(TypeError);
  });
});

describe('evolve', () => {
  it('takes every event of the catalogue at any time, in any order, and never throws', () => {
    for (const category of categories) {
      const examples = definitions
        .filter((d) => d.category === category)
        .map(({ type, example }) => ({ type, data: example }) as AnyEvent);
      expect(examples.length).toBeGreaterThan(0);
      for (const example of examples) expect(() => fold(deciderOf(category), [example])).not.toThrow();
      fc.assert(
        fc.property(fc.array(fc.constantFrom(...examples), { maxLength: 20 }), (events) => {
          fold(deciderOf(category), events);
        }),
      );
    }
  });

  it('passes over events it does not know', () => {
    for (const category of categories) {
      const decider = deciderOf(category);
      const begun = fold(
        decider,
        definitions
          .filter((d) => d.category === category)
          .slice(0, 1)
          .map(({ type, example }) => ({ type, data: example })),
      );
      expect(begun).not.toBeNull();
      for (const state of [decider.initialState, begun]) {
        expect(decider.evolve(state, { type: 'FromTheFuture', data: {} })).toEqual(state);
      }
    }
  });
});
