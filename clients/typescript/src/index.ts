/**
 * A typed client for the orders service: openapi-fetch with the generated types, on a fetch that retries safely.
 */

import createClient, { type Client } from "openapi-fetch";

import type { components, paths } from "./generated.js";
import { type OrdersFetch, ordersFetch } from "./retrying.js";

export { NoProblemDocument, type OrdersFetch, ordersFetch } from "./retrying.js";
export type { components, operations, paths } from "./generated.js";

export type Order = components["schemas"]["OrderView"];
export type Problem = components["schemas"]["ProblemView"];
export type Product = components["schemas"]["ProductView"];
export type User = components["schemas"]["UserView"];

/**
 * Return a client for the service at `baseUrl`.
 *
 * Pass a `fetch` made by `ordersFetch` to read its `syncToken`, to choose how often it tries, or to share it.
 */
export function connect(
  baseUrl: string,
  options: { fetch?: OrdersFetch; headers?: Record<string, string> } = {},
): Client<paths> {
  return createClient<paths>({ baseUrl, fetch: options.fetch ?? ordersFetch(), headers: options.headers ?? {} });
}
