import { readFileSync } from 'node:fs';
import { definitions, describeCatalogue, type EventDefinition } from './index.js';

describe('docs/events.md', () => {
  const all = definitions as readonly EventDefinition[];

  it('is what the catalogue says (run `npm run docs` after a change)', () => {
    expect(readFileSync('docs/events.md', 'utf8')).toBe(describeCatalogue(all));
  });

  it('has every event with every field', () => {
    const sections = describeCatalogue(all).split(/^### /m).slice(1);
    expect(sections.map((s) => s.split('\n')[0]).sort()).toEqual(all.map((d) => d.type).sort());
    for (const section of sections) {
      const { schema, personal } = all.find((d) => d.type === section.split('\n')[0])!;
      const rows = [...section.matchAll(/^\| `(\w+)` \| `.+` \| (.*?) ?\|$/gm)].map(([, field, mark]) => [field, mark]);
      expect(rows).toEqual(
        Object.keys(schema.shape).map((field) => [field, personal[field] ? `of \`${personal[field]}\`` : '']),
      );
      expect(section).not.toContain('`any`');
    }
  });
});
