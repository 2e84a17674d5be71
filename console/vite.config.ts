import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// The page is served by the Rust server under a strict policy: nothing inline, every asset from our own origin, names
// hashed so that they may be cached for ever.
export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2022',
    outDir: 'dist',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1200,
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/[name]-[hash].js',
        chunkFileNames: 'assets/[name]-[hash].js',
        assetFileNames: 'assets/[name]-[hash][extname]',
      },
    },
  },
  server: { proxy: { '/api': process.env.GARRISON_CONSOLE_URL ?? 'http://127.0.0.1:9180' } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
