/** Where progress is shown; a terminal or anything that takes text. */
export interface Screen {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/**
 * Live progress: on a terminal one line that moves, with the seconds it takes; elsewhere one plain line a step. Finished
 * steps stay with their time.
 */
export class Progress {
  private current: { text: string; detail: string; since: number } | undefined;
  private timer: NodeJS.Timeout | undefined;
  private frame = 0;
  private lastPlain = '';

  constructor(
    private readonly screen: Screen,
    private readonly quiet = false,
    private readonly now: () => number = Date.now,
  ) {}

  /** Begins a step and ends the one before. */
  step(text: string): void {
    this.done();
    this.current = { text, detail: '', since: this.now() };
    if (this.quiet) return;
    if (!this.screen.isTTY) return this.plain(`… ${text}`);
    this.timer ??= setInterval(() => this.draw(), 80);
    this.timer.unref();
    this.draw();
  }

  /** How far the step is; plain screens hear of it every tenth. */
  detail(text: string, done?: number, total?: number): void {
    if (!this.current) return this.step(text);
    const share = done !== undefined && total ? Math.min(1, done / total) : undefined;
    this.current.detail = share === undefined ? text : `${text} ${bar(share)} ${Math.round(share * 100)} %`;
    if (this.quiet) return;
    if (this.screen.isTTY) return this.draw();
    this.plain(`  ${text}${share === undefined ? '' : ` ${Math.floor(share * 10) * 10} %`}`);
  }

  /** Ends the step under way. */
  done(): void {
    if (!this.current) return;
    const { text, since } = this.current;
    this.current = undefined;
    clearInterval(this.timer);
    this.timer = undefined;
    if (this.quiet || !this.screen.isTTY) return;
    const seconds = (this.now() - since) / 1000;
    this.screen.write(`\r\u001b[2K✓ ${text}${seconds >= 1 ? ` (${seconds.toFixed(1)} s)` : ''}\n`);
  }

  /** A line that stays, above the moving one. */
  line(text: string): void {
    if (this.screen.isTTY && this.current) this.screen.write('\r\u001b[2K');
    this.screen.write(`${text}\n`);
    if (this.current && !this.quiet) this.draw();
  }

  private draw(): void {
    if (!this.current || !this.screen.isTTY) return;
    const { text, detail, since } = this.current;
    const seconds = Math.floor((this.now() - since) / 1000);
    const line = `${FRAMES[this.frame++ % FRAMES.length]} ${text}${detail ? ` · ${detail}` : ''}${seconds ? ` ${seconds} s` : ''}`;
    this.screen.write(`\r\u001b[2K${line.slice(0, (this.screen.columns ?? 80) - 1)}`);
  }

  private plain(text: string): void {
    if (text === this.lastPlain) return;
    this.lastPlain = text;
    this.screen.write(`${text}\n`);
  }
}

const bar = (share: number): string => {
  const filled = Math.round(share * 20);
  return `[${'█'.repeat(filled)}${'·'.repeat(20 - filled)}]`;
};
