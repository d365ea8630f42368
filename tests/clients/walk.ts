/**
 * A caller's walk through the shop with the generated TypeScript client; tests/clients/walk.py takes the same steps.
 *
 * `node walk.js <api> <refusing> <cutting>` prints each step that went well. `refusing` and `cutting` are proxies in
 * front of the API (tests/clients/faulty_proxy.py).
 */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { connect, NoProblemDocument, type Order, ordersFetch, type Product, type User } from "orders-client";

type Client = ReturnType<typeof connect>;

const step = (sentence: string): void => console.log(sentence);

async function walk(api: string): Promise<void> {
  const fetch = ordersFetch();
  const client = connect(api, { fetch });
  const [user, product] = await begin(client);
  const order = await orderSomething(client, fetch, user, product);
  await lookAround(client, user, order);
  await beRefused(client, user, product);
  await cancelALine(client, order);
  await readEvents(client, order);
}

async function begin(client: Client): Promise<[User, Product]> {
  const { data: user } = await client.POST("/users", { body: { name: "Ada", email: `${randomUUID()}@example.org` } });
  assert(user);
  assert.deepEqual([user.name, user.external_id, user.version], ["Ada", null, 1]);
  step("registers a user");

  const tea = { sku: `tea-${randomUUID()}`, name: "Tea", price: "7.20", currency: "EUR", stock: 10 } as const;
  const { data: product } = await client.POST("/products", { body: tea });
  assert(product);
  assert.deepEqual([product.price, product.stock, product.in_stock], ["7.20", 10, true]);
  const pdf = { sku: `pdf-${randomUUID()}`, name: "PDF", price: "1", currency: "EUR" } as const;
  assert.equal((await client.POST("/products", { body: pdf })).data?.stock, 0);
  step("adds a product");
  return [user, product];
}

async function orderSomething(
  client: Client,
  fetch: ReturnType<typeof ordersFetch>,
  user: User,
  product: Product,
): Promise<Order> {
  const items = [
    { sku: product.sku, quantity: 2 },
    { product_id: product.id, quantity: 1 },
  ];
  const body = { user_id: user.id, items, note: "ring twice" };
  const params = { header: { "Idempotency-Key": randomUUID() } };
  const placed = await client.POST("/orders", { body, params });
  const order = placed.data;
  assert(order);
  assert.deepEqual([placed.response.status, order.total, order.items.length], [201, "21.60", 2]);
  assert.equal(placed.response.headers.get("Location"), `/orders/${order.id}`);
  assert.equal(fetch.syncToken, Number(placed.response.headers.get("Sync-Token")));
  step("places an order with a key");

  const repeated = await client.POST("/orders", { body, params });
  assert.equal(repeated.response.headers.get("Idempotency-Replayed"), "true");
  assert.equal(placed.response.headers.get("Idempotency-Replayed"), null);
  assert.deepEqual(repeated.data, order);
  step("gets the first answer when it repeats the order");

  // At once: the fetch carries the Sync-Token of the order.
  const path = { id: order.id };
  const read = await client.GET("/orders/{id}", { params: { path } });
  assert.deepEqual(read.data, order);
  assert(Number(read.response.headers.get("Sync-Token")) >= Number(placed.response.headers.get("Sync-Token")));
  const header = { "If-None-Match": read.response.headers.get("ETag") ?? "" };
  const unchanged = await client.GET("/orders/{id}", { params: { path, header } });
  assert.equal(unchanged.response.status, 304);
  step("reads the order that it has just placed");
  return order;
}

async function lookAround(client: Client, user: User, order: Order): Promise<void> {
  const skus: string[] = [];
  let pages = 0;
  let cursor: string | null = null;
  do {
    const query: { limit: number; sort: "-sku"; cursor?: string } = { limit: 1, sort: "-sku" };
    if (cursor !== null) query.cursor = cursor;
    const { data: page } = await client.GET("/products", { params: { query } });
    assert(page);
    skus.push(...page.data.map((product) => product.sku));
    pages += 1;
    cursor = page.next;
  } while (cursor !== null);
  assert.deepEqual([pages, skus], [skus.length, [...skus].sort().reverse()]);
  assert(pages >= 2);
  step("pages through a list");

  const later = new Date(Date.parse(order.placed_at) + 1000).toISOString();
  const counts: (number | undefined)[] = [];
  for (const filter of [
    { "placed_at[gt]": later },
    { "placed_at[gte]": order.placed_at, status: ["placed" as const] },
    { "placed_at[lt]": order.placed_at, "total[gte]": "0.01" },
  ]) {
    const found = await client.GET("/orders", { params: { query: { user_id: user.id, ...filter } } });
    counts.push(found.data?.data.length);
  }
  assert.deepEqual(counts, [0, 1, 0]);
  step("filters by time");
}

async function beRefused(client: Client, user: User, product: Product): Promise<void> {
  const body = { user_id: user.id, items: [{ sku: product.sku, quantity: 9 }] };
  const { error: problem, response } = await client.POST("/orders", { body });
  assert(problem);
  assert.deepEqual([response.status, problem.code, problem.retryable], [409, "insufficient-stock", false]);
  const [line] = problem.lines ?? [];
  assert(line);
  assert.deepEqual([line.line, line.sku, line.requested, line.available], [1, product.sku, 9, 7]);
  assert.equal(problem.errors, undefined);
  // @ts-expect-error: a misspelt member
  assert.equal(line.availible, undefined);
  step("meets a typed refusal that names the lines");
}

async function cancelALine(client: Client, order: Order): Promise<void> {
  const path = { id: order.id };
  const params = { path, header: { "If-Match": `"${order.version}"` } };
  const body = { lines: [{ line: 2, quantity: 1 }], reason: "one too many" };
  const { data: cancelled } = await client.POST("/orders/{id}/cancel", { params, body });
  assert(cancelled);
  assert.deepEqual([cancelled.status, cancelled.cancelled_total], ["partially_cancelled", "7.20"]);
  assert.deepEqual(cancelled.items.map((item) => item.cancelled_quantity), [0, 1]);
  const stale = await client.POST("/orders/{id}/cancel", { params, body });
  assert.equal(stale.error?.code, "version-mismatch");
  const { data: rest } = await client.POST("/orders/{id}/cancel", { params: { path } });
  assert.equal(rest?.status, "cancelled");
  step("cancels one line, then the rest");
}

async function readEvents(client: Client, order: Order): Promise<void> {
  const { data: page } = await client.GET("/orders/{id}/events", { params: { path: { id: order.id } } });
  const told = page?.data.map((event) => {
    switch (event.type) {
      case "OrderPlaced":
        return `${event.data.total} placed, ${event.data.items.length} lines`;
      case "OrderLinesCancelled":
      case "OrderCancelled":
        return `${event.data.amount} cancelled, ${event.data.cancelled_total_after} in all`;
    }
  });
  assert.deepEqual(told, ["21.60 placed, 2 lines", "7.20 cancelled, 7.20 in all", "14.40 cancelled, 21.60 in all"]);
  step("reads events by their types");
}

async function retry(refusing: string, cutting: string): Promise<void> {
  // The names tell the requests apart in the proxies' logs.
  const refused = { name: "refused", email: `${randomUUID()}@example.org` };
  assert((await connect(refusing).POST("/users", { body: refused })).data);
  step("comes back as late as Retry-After asks");

  const client = connect(cutting);
  const cut = { name: "cut", email: `${randomUUID()}@example.org` };
  const registered = await client.POST("/users", { body: cut });
  assert(registered.data);
  assert.equal(registered.response.headers.get("Idempotency-Replayed"), "true");
  step("repeats a command with one key when the answer is lost");

  const read = await client.GET("/users/{id}", { params: { path: { id: registered.data.id } } });
  assert.deepEqual(read.data, registered.data);
  step("carries the Sync-Token of a command to a read, and repeats the read");

  const tea = { sku: `tea-${randomUUID()}`, name: "Tea", price: 1, currency: "EUR" } as const;
  const { data: product } = await client.POST("/products", { body: tea });
  assert(product);
  const params = { path: { id: product.id }, header: { "If-Match": `"${product.version}"` } };
  await assert.rejects(client.PUT("/products/{id}", { params, body: { name: "Tea", price: "2" } }), TypeError);
  step("does not repeat a change with If-Match when the answer is lost");
}

async function giveUp(api: string, refusing: string): Promise<void> {
  const impatient = connect(api, { fetch: ordersFetch({ syncToken: 1e9, triesMax: 2 }) });
  const { error: behind } = await impatient.GET("/orders", { params: { header: { Prefer: "wait=0" } } });
  assert.deepEqual([behind?.code, behind?.retryable], ["projection-behind", true]);
  const body = { name: "given up", email: `${randomUUID()}@example.org` };
  const { error } = await connect(refusing, { fetch: ordersFetch({ msMax: 500 }) }).POST("/users", { body });
  assert.equal(error?.code, "overloaded");
  step("returns the problem when it has no more tries or time");

  const broken = connect(`${refusing}/broken`, { fetch: ordersFetch({ triesMax: 1 }) });
  await assert.rejects(broken.GET("/readyz"), NoProblemDocument);
  step("raises when a proxy answers with an error of its own");
}

const [api, refusing, cutting] = process.argv.slice(2);
assert(api && refusing && cutting);
await walk(api);
await retry(refusing, cutting);
await giveUp(api, refusing);
