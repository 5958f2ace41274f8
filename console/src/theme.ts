// Light or dark: as the system has it, until somebody chooses.
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const KEY = "serai-theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set<() => void>();

export function theme(): Theme {
  const stored = localStorage.getItem(KEY);
  return stored === "light" || stored === "dark" ? stored : "system";
}

export function applyTheme(): void {
  const dark = theme() === "dark" || (theme() === "system" && system.matches);
  document.documentElement.classList.toggle("dark", dark);
}

export function choose(next: Theme): void {
  if (next === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, next);
  applyTheme();
  for (const tell of watchers) tell();
}

export function useTheme(): Theme {
  return useSyncExternalStore((tell) => {
    watchers.add(tell);
    return () => watchers.delete(tell);
  }, theme);
}

system.addEventListener("change", applyTheme);
