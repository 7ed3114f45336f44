import { createServer } from 'node:net';

/** True when `port` of `host` can be listened on right now. */
export async function isPortFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** Any free port. */
export async function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen({ host, port: 0 }, () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

/**
 * `preferred` when it is free, else the next free one of the following hundred; 0 asks for any. With `strict` a taken port
 * is an error that names `variable`.
 */
export async function choosePort(options: {
  host: string;
  preferred: number;
  variable: string;
  strict: boolean;
}): Promise<number> {
  const { host, preferred, variable, strict } = options;
  if (preferred === 0) return freePort(host);
  if (await isPortFree(host, preferred)) return preferred;
  if (strict) {
    throw new Error(
      `Port ${preferred} on ${host} is taken by another program: free it, or set ${variable} to another port.`,
    );
  }
  for (let port = preferred + 1; port <= Math.min(preferred + 100, 65_535); port++) {
    if (await isPortFree(host, port)) return port;
  }
  return freePort(host);
}
