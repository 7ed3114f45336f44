import { type DestinationStream, destination, type Logger, pino, stdSerializers } from 'pino';
import type { Settings } from './config.js';
import { redact, redactText } from './redact.js';

export type { Logger } from 'pino';

function stdout(): DestinationStream {
  const stream = destination({ dest: 1, sync: true });
  // A reader that went away (the launcher was killed) must not keep us from stopping in order.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  return stream;
}

/**
 * One JSON object per line on stdout (or `stream`), with `name`, `pid`, ISO time; secrets are masked wherever they stand,
 * errors carry their whole chain of causes.
 */
export function createLogger(name: string, settings: Pick<Settings, 'logLevel'>, stream?: DestinationStream): Logger {
  const error = (value: Error): unknown => redact({ ...stdSerializers.err(value) });
  const logger = pino(
    {
      name,
      level: settings.logLevel,
      base: { pid: process.pid },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: {
        level: (label) => ({ level: label }),
        log: (object) => redact(object) as Record<string, unknown>,
      },
      serializers: { err: error, error },
      hooks: {
        logMethod(args, method) {
          const masked = args.map((arg: unknown) => (typeof arg === 'string' ? redactText(arg) : arg));
          // Without a message of its own a line gets that of its error, which nobody has masked.
          const first = args[0] as unknown;
          const err = first instanceof Error ? first : (first as { err?: unknown } | null)?.err;
          if (args.length === 1 && err instanceof Error) masked.push(redactText(err.message));
          return method.apply(this, masked as typeof args);
        },
      },
    },
    // Synchronous: the last words of a process that dies must get out.
    stream ?? stdout(),
  );
  // Children inherit this from the root; pino applies no formatter to what they are bound to.
  const child = logger.child as unknown as (this: Logger, bindings: object, options?: object) => Logger;
  logger.child = function (this: Logger, bindings: object, options?: object) {
    return child.call(this, redact(bindings) as object, options);
  } as unknown as Logger['child'];
  return logger;
}
