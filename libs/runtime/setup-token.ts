import { hkdfSync } from 'node:crypto';

/**
 * What proves to the api that whoever founds a studio owns the machine: derived from the master key, so that only who
 * can read the installation's secrets knows it. 43 characters.
 */
export const setupToken = (masterKey: Buffer): string =>
  Buffer.from(hkdfSync('sha256', masterKey, '', 'picturelock setup token v1', 32)).toString('base64url');
