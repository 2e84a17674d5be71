import type { Problem } from './types';

/** A request that the server refused, or that never reached it (`status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;
  /** The whole answer: some problems carry more than words, such as the diagnostics of a query. */
  readonly problem: Problem & Record<string, unknown>;

  constructor(problem: Problem) {
    super(problem.title);
    this.name = 'ApiError';
    this.status = problem.status;
    this.code = problem.code;
    this.hint = problem.hint ?? undefined;
    this.problem = { ...problem };
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** The path with its query; empty values are left out so that equal questions have equal addresses. */
export function address(path: string, query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') search.set(name, String(value));
  }
  const text = search.toString();
  return `/api/v1${path}${text ? `?${text}` : ''}`;
}

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'title' in value;
}

async function ask(
  method: string,
  path: string,
  query?: Query,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' };
  // A foreign site cannot set this header, so a cookie alone changes nothing.
  if (method !== 'GET') headers['x-garrison-request'] = '1';
  let payload: string | undefined;
  if (typeof body === 'string') {
    headers['content-type'] = 'application/yaml';
    payload = body;
  } else if (body !== undefined) {
    headers['content-type'] = 'application/json';
    payload = JSON.stringify(body);
  }
  try {
    return await fetch(address(path, query), { method, headers, body: payload, credentials: 'same-origin', signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError({
      code: 'unreachable',
      title: 'The server does not answer.',
      status: 0,
      hint: 'Check that garrison serve is running and that this browser can reach it.',
    });
  }
}

async function request<T>(
  method: string,
  path: string,
  query?: Query,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  return answerOf<T>(await ask(method, path, query, body, signal));
}

async function answerOf<T>(response: Response): Promise<T> {
  const text = await response.text();
  let value: unknown = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = null;
  }
  if (!response.ok) {
    if (isProblem(value)) throw new ApiError({ ...value, status: response.status });
    throw new ApiError({ code: 'http', title: `The server answered ${response.status}.`, status: response.status });
  }
  return value as T;
}

/** What a server of another version may lack: null instead of its 404. */
export async function orNull<T>(ask: Promise<T>): Promise<T | null> {
  try {
    return await ask;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 405)) return null;
    throw error;
  }
}

export const api = {
  get: <T>(path: string, query?: Query, signal?: AbortSignal) => request<T>('GET', path, query, undefined, signal),
  post: <T>(path: string, body?: unknown, query?: Query, signal?: AbortSignal) =>
    request<T>('POST', path, query, body, signal),
  /** A file that the server makes. */
  blob: async (path: string, body: unknown, query?: Query): Promise<Blob> => {
    const response = await ask('POST', path, query, body);
    return response.ok ? await response.blob() : await answerOf<Blob>(response);
  },
  patch: <T>(path: string, body: unknown) => request<T>('PATCH', path, undefined, body),
  put: <T>(path: string, body: unknown) => request<T>('PUT', path, undefined, body),
  delete: <T>(path: string) => request<T>('DELETE', path),
};
