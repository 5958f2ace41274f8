import { defineConfig } from "astro/config";

// Previews come from other host names than the dev server's own.
export default defineConfig({
  server: { host: true, port: 4321, allowedHosts: true },
  devToolbar: { enabled: false },
});
