import { initials, PENS, personColour } from './colours.js';

it('a person has one colour everywhere, and people differ', () => {
  const ids = Array.from({ length: 40 }, (_, i) => `person-${i}`);
  expect(ids.map(personColour)).toEqual(ids.map(personColour));
  expect(new Set(ids.map(personColour)).size).toBeGreaterThan(5);
});

it('pens are what the api takes', () => {
  for (const pen of PENS) expect(pen).toMatch(/^#[0-9a-f]{6}$/);
});

it.each([
  ['Ada Moreau', 'AM'],
  ['  jonas  ', 'J'],
  ['Ana María de la Cruz', 'AC'],
  ['', '?'],
  ['𝒜lpha Beta', '𝒜B'],
])('%j is %s', (name, letters) => expect(initials(name)).toBe(letters));
