import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Previews come from other host names than the dev server's own.
export default defineConfig({
  plugins: [react()],
  server: { host: true, port: 5173, strictPort: true, allowedHosts: true },
});
