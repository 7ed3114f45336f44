/** Builds a target when its sources changed; resolves to true when it built. */
export function build(name: 'server' | 'web', options?: { force?: boolean; quiet?: boolean }): Promise<boolean>;
