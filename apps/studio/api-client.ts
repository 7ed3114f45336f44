import { open, stat } from 'node:fs/promises';

/** A refusal or error of the api, with its code. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

interface Answer<T> {
  data?: T;
  errors?: { message: string; extensions?: { code?: string } }[];
}
interface Payload {
  errors?: { code: string; message: string }[];
}

const CHUNK_BYTES = 8 << 20;

/** A person at the public API: what a front end does, in a few lines. */
export class ApiClient {
  constructor(
    readonly baseUrl: string,
    readonly signal?: AbortSignal,
    readonly token?: string,
  ) {}

  /** @throws ApiError for errors; refusals of a payload too */
  async graphql<T extends object>(query: string, variables: Record<string, unknown> = {}): Promise<T> {
    const response = await fetch(new URL('/graphql', this.baseUrl), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(this.token ? { authorization: `Bearer ${this.token}` } : {}) },
      body: JSON.stringify({ query, variables }),
      signal: this.signal,
    });
    const { data, errors } = (await response.json()) as Answer<T>;
    const error = errors?.[0];
    if (error || !data) throw new ApiError(error?.extensions?.code ?? 'NO_DATA', error?.message ?? 'no data');
    for (const payload of Object.values(data) as (Payload | null)[]) {
      const refusal = payload?.errors?.[0];
      if (refusal) throw new ApiError(refusal.code, refusal.message);
    }
    return data;
  }

  async login(email: string, password: string): Promise<ApiClient> {
    const { login } = await this.graphql<{ login: { token: string } }>(
      `mutation ($input: LoginInput!) { login(input: $input) { token errors { ... on RefusalInfo { code message } } } }`,
      { input: { email, password, device: 'Demo' } },
    );
    return new ApiClient(this.baseUrl, this.signal, login.token);
  }

  /** Uploads a file by tus 1.0; returns the id of the upload. */
  async upload(file: string, filename: string, onProgress?: (fraction: number) => void): Promise<string> {
    const { size } = await stat(file);
    const headers = { authorization: `Bearer ${this.token}`, 'tus-resumable': '1.0.0' };
    const created = await fetch(new URL('/uploads', this.baseUrl), {
      method: 'POST',
      headers: {
        ...headers,
        'upload-length': String(size),
        'upload-metadata': `filename ${Buffer.from(filename).toString('base64')}`,
      },
      signal: this.signal,
    });
    const location = created.headers.get('location');
    if (created.status !== 201 || !location) throw new ApiError('UPLOAD_FAILED', await created.text());
    const url = new URL(location, this.baseUrl);
    const handle = await open(file);
    try {
      for (let offset = 0; offset < size;) {
        const { buffer, bytesRead } = await handle.read(
          Buffer.alloc(Math.min(CHUNK_BYTES, size - offset)),
          0,
          undefined,
          offset,
        );
        const patched = await fetch(url, {
          method: 'PATCH',
          headers: { ...headers, 'content-type': 'application/offset+octet-stream', 'upload-offset': String(offset) },
          body: buffer.subarray(0, bytesRead),
          signal: this.signal,
        });
        if (!patched.ok) throw new ApiError('UPLOAD_FAILED', await patched.text());
        offset = Number(patched.headers.get('upload-offset'));
        onProgress?.(offset / size);
      }
    } finally {
      await handle.close();
    }
    return url.pathname.split('/').pop()!;
  }
}
