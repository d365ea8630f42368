/**
 * A fetch that retries safely and reads its own writes.
 *
 * - Every POST gets an Idempotency-Key, and all tries of a request carry the same one.
 * - A request is tried again when the connection fails or the answer says that a later try may succeed. The wait is at
 *   least the answer's Retry-After.
 * - Every GET carries the highest Sync-Token of the answers so far, so it sees all that this fetch wrote or read.
 */

const FIRST_WAIT_MS = 100;
const LATER = new Set([408, 429, 500, 502, 503, 504]);
const NOTHING_DONE = new Set([408, 429, 503]);

/** A fetch, and the highest Sync-Token so far: pass it on to another process that has to see the same. */
export type OrdersFetch = ((request: Request) => Promise<Response>) & { syncToken: number };

/** An error without a body that has the documented type: a proxy answered, not the service. */
export class NoProblemDocument extends Error {
  override name = "NoProblemDocument";
}

/** Make a fetch. Use it for one service only: a Sync-Token is a position in that service's log. */
export function ordersFetch({
  syncToken = 0,
  triesMax = 6,
  msMax = 60_000,
  tryMsMax = 15_000, // The service answers a command within 10 seconds. `Prefer: wait=30` needs more than 30.
  fetch = globalThis.fetch,
} = {}): OrdersFetch {
  const carrying: OrdersFetch = Object.assign(
    async (request: Request) => {
      const deadline = Date.now() + msMax;
      if (request.method === "POST" && !request.headers.has("Idempotency-Key")) {
        request.headers.set("Idempotency-Key", crypto.randomUUID());
      }
      if (request.method === "GET" && carrying.syncToken > 0 && !request.headers.has("Sync-Token")) {
        request.headers.set("Sync-Token", String(carrying.syncToken));
      }
      let backoff = FIRST_WAIT_MS;
      for (let left = triesMax - 1; ; left -= 1, backoff *= 2) {
        const result = await tryOnce(request, fetch, tryMsMax);
        // Random, so that clients that failed together do not come back together.
        const wait = Math.max(retryAfterMs(result), backoff) * (1 + Math.random() / 4);
        const again = left > 0 && Date.now() + wait < deadline && (await mayRepeat(request, result));
        if (!again) {
          if (!(result instanceof Response)) throw result.failure;
          if (!result.ok && result.status !== 304 && !contentType(result).endsWith("json")) {
            throw new NoProblemDocument(`${request.method} ${request.url}: ${result.status} from a proxy`);
          }
          carrying.syncToken = Math.max(carrying.syncToken, Number(result.headers.get("Sync-Token") ?? 0));
          return result;
        }
        await sleep(wait, request.signal);
      }
    },
    { syncToken },
  );
  return carrying;
}

type Result = Response | { failure: unknown };

async function tryOnce(request: Request, fetch: typeof globalThis.fetch, msMax: number): Promise<Result> {
  try {
    const signal = AbortSignal.any([request.signal, AbortSignal.timeout(msMax)]);
    const answer = await fetch(request.clone(), { signal });
    // The body is read here: a connection that breaks in the middle of it is a failed try.
    const body = [204, 304].includes(answer.status) ? null : await answer.arrayBuffer();
    return new Response(body, answer);
  } catch (failure) {
    if (request.signal.aborted) throw failure;
    return { failure };
  }
}

async function mayRepeat(request: Request, result: Result): Promise<boolean> {
  const answer = result instanceof Response ? result : undefined;
  // An error as application/json is no problem document but a report: the 503 of /readyz.
  if (answer && (!LATER.has(answer.status) || contentType(answer) === "application/json")) return false;
  if (request.method === "POST" || !request.headers.has("If-Match")) return true;
  // If the first try took effect, a second one would get 412 for the client's own change.
  if (!answer || !NOTHING_DONE.has(answer.status)) return false;
  return !(await answer.clone().text()).includes("outcome-unknown");
}

/** Milliseconds to wait as Retry-After asks: a number, or a date from a proxy; 0 without one. */
function retryAfterMs(result: Result): number {
  const asked = result instanceof Response ? result.headers.get("Retry-After") : null;
  if (asked === null) return 0;
  const seconds = /^\d+$/.test(asked) ? Number(asked) : (Date.parse(asked) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds * 1000) : 0;
}

function contentType(answer: Response): string {
  return (answer.headers.get("Content-Type") ?? "").split(";")[0] ?? "";
}

/** Wait; rejects at once when the caller aborts. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
