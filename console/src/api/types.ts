// The shapes of the API, under short names. They are made from our own OpenAPI document.
import type { components } from "./schema";

export type Schemas = components["schemas"];
export type Sandbox = Schemas["Sandbox"];
export type Model = Schemas["Model"];

/** What all resources have. */
export interface Resource {
  metadata: {
    name: string;
    displayName?: string;
    workspace?: string;
    createdAt?: string;
    updatedAt?: string;
    createdBy?: string;
    updatedBy?: string;
    labels?: Record<string, string>;
    url?: string;
  };
  spec: Record<string, unknown>;
  status?: string;
  state?: string;
  events?: { time?: string; status?: string; message?: string; type?: string; revision?: string }[];
}

export interface Page<T> {
  data: T[];
  meta: { nextCursor?: string; hasMore?: boolean; total?: number };
}
