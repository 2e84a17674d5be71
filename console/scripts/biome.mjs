// Runs biome's program for this machine. The wrapper package is not used: its lock entries name programs for every
// platform, and where a registry lacks one of them `npm ci` refuses the whole lock file.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL(`../node_modules/@biomejs/cli-linux-${process.arch}/biome`, import.meta.url));
const run = spawnSync(program, process.argv.slice(2), { stdio: 'inherit' });
if (run.error) console.error(`cannot run \`${program}\`: ${run.error.message}`);
process.exit(run.status ?? 1);
