import { generalRefusal, type Refusal, refusalFor } from './refusals.js';

const refusal = (message: string, path: string[] | null): Refusal => ({
  __typename: 'InvalidInput',
  code: 'TEXT_REQUIRED',
  message,
  path,
});

it('a refusal goes to its field, the rest to the whole form', () => {
  const errors = [refusal('Say why.', ['input', 'text']), refusal('Not now.', null)];
  expect(refusalFor(errors, 'text')?.message).toBe('Say why.');
  expect(refusalFor(errors, 'email')).toBeNull();
  expect(generalRefusal(errors, ['text'])).toBe('Not now.');
  expect(generalRefusal(errors.slice(0, 1), ['text'])).toBeNull();
});
