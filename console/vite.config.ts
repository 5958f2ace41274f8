import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page is served at every address below /console, its files at one.
export default defineConfig({
  base: "/console/",
  plugins: [react(), tailwindcss()],
  build: {
    outDir: "../src/serai/console/static",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
  },
});
