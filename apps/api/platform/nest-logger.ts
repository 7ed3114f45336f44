import type { LoggerService } from '@nestjs/common';
import type { Logger } from '#libs/runtime/index.js';

/** Nest's own words go where all others go. Its chatter about routes is for debugging. */
export const nestLogger = (logger: Logger): LoggerService => ({
  log: (message: unknown) => logger.debug(String(message)),
  debug: (message: unknown) => logger.trace(String(message)),
  verbose: (message: unknown) => logger.trace(String(message)),
  warn: (message: unknown) => logger.warn(String(message)),
  error: (message: unknown, stack?: unknown) => logger.error({ stack }, String(message)),
  fatal: (message: unknown) => logger.fatal(String(message)),
});
