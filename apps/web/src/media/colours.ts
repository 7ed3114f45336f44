/** Colours of drawings and people. Pure. Chosen to stand out from each other and from most pictures. */

/** Pens offered for drawing, `#rrggbb`. */
export const PENS = ['#ff453a', '#ff9f0a', '#ffd60a', '#32d74b', '#64d2ff', '#bf7aff', '#ffffff', '#101010'] as const;

/** Stroke widths offered, as fractions of the picture's height. */
export const STROKES = [
  { label: 'Thin', value: 0.003 },
  { label: 'Medium', value: 0.006 },
  { label: 'Thick', value: 0.012 },
] as const;

const PEOPLE = ['#64d2ff', '#ffb340', '#8ce99a', '#ff8fa3', '#c3a6ff', '#f3e46b', '#5eead4', '#ffa77a'] as const;

/** The colour of a person's markers and layer: the same in every window, from the id alone. */
export function personColour(id: string): string {
  let hash = 2166136261;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 16777619);
  return PEOPLE[(hash >>> 0) % PEOPLE.length]!;
}

/** Up to two letters for an avatar. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words.slice(0, 1);
  return letters.map((word) => [...word!][0]!.toUpperCase()).join('') || '?';
}
