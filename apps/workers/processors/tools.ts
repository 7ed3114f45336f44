import type { CommandExecutor } from '#libs/events/log/index.js';
import type { Jobs } from '#libs/jobs/index.js';
import type { BlobStore } from '#libs/media/index.js';
import type { Logger } from '#libs/runtime/index.js';

/** What a job about media needs beside its own data. */
export interface MediaTools {
  readonly executor: CommandExecutor;
  readonly blobs: BlobStore;
  readonly jobs: Jobs;
  readonly logger: Logger;
  /** Scratch space on the same disk as the blobs. */
  readonly workDir: string;
  /** Of one ffmpeg. */
  readonly threads: number;
}
