// Tells whether dist/ belongs to the sources beside it: `--write` after a build, `--check` in tests. Two hashes are kept
// in dist.sha256: over what the build reads, and over what it wrote.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const RECORD = join(root, 'dist.sha256');

function filesBelow(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length));
}

function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of [...files].sort()) {
    const bytes = readFileSync(join(root, file));
    hash.update(`${file.replaceAll('\\', '/')}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

const sources = hashOf([
  ...filesBelow('src').filter((file) => !file.endsWith('.test.ts')),
  ...filesBelow('public'),
  'index.html',
  'package-lock.json',
  'tsconfig.json',
  'vite.config.ts',
]);
const dist = hashOf(filesBelow('dist'));
const record = `sources ${sources}\ndist ${dist}\n`;

if (process.argv.includes('--write')) {
  writeFileSync(RECORD, record);
} else {
  const kept = readFileSync(RECORD, 'utf8');
  if (kept !== record) {
    console.error(
      'console/dist is not what the sources make: run `npm ci --ignore-scripts && npm run build` in console/',
    );
    console.error(`kept:\n${kept}now:\n${record}`);
    process.exit(1);
  }
  console.log('console/dist is current');
}
