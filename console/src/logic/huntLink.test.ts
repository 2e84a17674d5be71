import { expect, it } from 'vitest';
import { pack, unpack } from './huntLink';

it.each([
  ['short', 'DeviceProcessEvents | where FileName == "ä b" | take 1'],
  ['long', Array.from({ length: 200 }, (_, i) => `| where FileName != "file-${i}-é"`).join('\n')],
])('a %s query comes back from its address', async (_, query) => {
  const params = await pack(query);
  expect(params).not.toBeNull();
  expect(await unpack(params ?? { q: null, z: null })).toBe(query);
});

it('a short query stays readable, a long one is packed', async () => {
  expect((await pack('A | take 1'))?.q).toBe('A | take 1');
  expect((await pack('| where a == 1\n'.repeat(500)))?.z).toMatch(/^[\w-]+$/);
});

it('what cannot be a query is refused', async () => {
  expect(await unpack({ q: null, z: null })).toBeNull();
  expect(await unpack({ q: null, z: 'no base64 !' })).toBeNull();
  expect(await unpack({ q: null, z: 'AAAA' })).toBeNull();
  expect(await unpack({ q: 'x'.repeat(100_001), z: null })).toBeNull();
});

it('a packed bomb does not unpack', async () => {
  const bytes = new Uint8Array(
    await new Response(
      new Blob(['a'.repeat(3_000_000)]).stream().pipeThrough(new CompressionStream('deflate-raw')),
    ).arrayBuffer(),
  );
  const z = Buffer.from(bytes).toString('base64url');
  expect(await unpack({ q: null, z })).toBeNull();
});
