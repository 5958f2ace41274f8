import type { NextConfig } from "next";

// Previews come from other host names than the dev server's own.
const origins = process.env.ALLOWED_DEV_ORIGINS?.split(",") ?? [];

const config: NextConfig = {
  allowedDevOrigins: ["127.0.0.1", "**.localhost", ...origins],
  devIndicators: false,
};

export default config;
