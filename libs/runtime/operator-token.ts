import { hkdfSync } from 'node:crypto';

/**
 * What proves to the api that a request comes from whoever runs the machine (the command line, a monitor): derived from
 * the master key, so that only who can read the installation's secrets knows it. 43 characters.
 */
export const operatorToken = (masterKey: Buffer): string =>
  Buffer.from(hkdfSync('sha256', masterKey, '', 'picturelock operator token v1', 32)).toString('base64url');
