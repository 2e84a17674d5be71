import { QUERY_CHARS_MAX } from './kql';

// A query travels in the address: as it is while short, packed where it is long, not at all beyond what browsers and
// mail programs carry.

/** Percent-encoded characters up to which the query stays readable in the address. */
const PLAIN_MAX = 1_500;
/** Longest packed query in an address; longer ones are cut by mail programs and proxies. */
const PACKED_MAX = 7_000;

export interface LinkParams {
  q: string | null;
  z: string | null;
}

async function through(bytes: Uint8Array<ArrayBuffer>, stream: CompressionStream | DecompressionStream, max: number) {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    // A small address can unpack to gigabytes.
    if (size > max) {
      await reader.cancel();
      throw new Error('too long');
    }
    parts.push(value);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What of an address holds this query; null if it is too long for a link. */
export async function pack(query: string): Promise<LinkParams | null> {
  if (encodeURIComponent(query).length <= PLAIN_MAX) return { q: query, z: null };
  if (query.length > QUERY_CHARS_MAX) return null;
  const bytes = await through(new TextEncoder().encode(query), new CompressionStream('deflate-raw'), PACKED_MAX);
  const z = btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '');
  return z.length <= PACKED_MAX ? { q: null, z } : null;
}

/** The query of an address; null if there is none or it cannot be read. */
export async function unpack(params: LinkParams): Promise<string | null> {
  if (params.q !== null) return params.q.length <= QUERY_CHARS_MAX ? params.q : null;
  if (!params.z || params.z.length > PACKED_MAX) return null;
  try {
    const text = atob(params.z.replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const whole = await through(bytes, new DecompressionStream('deflate-raw'), QUERY_CHARS_MAX * 4);
    const query = new TextDecoder('utf-8', { fatal: true }).decode(whole);
    return query.length <= QUERY_CHARS_MAX ? query : null;
  } catch {
    return null;
  }
}
