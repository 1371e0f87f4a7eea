// The token bucket of the study as a Durable Object: one object a key, its state on disk. The same
// bucket as everybody's here (one time, when it will be full again, in microseconds), so that only
// the way of keeping it differs. The bare worker beside it tells what HTTP alone costs.
// The limit comes with the request, as an inline limit does: ?key=K&rate=TOKENS_A_SECOND&burst=TOKENS
const SECOND_US = 1000000;

export class Bucket {
  constructor(state) {
    this.storage = state.storage;
    this.full = undefined; // as stored; undefined: not read yet
  }

  async fetch(request) {
    const asked = new URL(request.url).searchParams;
    const rate = Number(asked.get("rate")), burst = Number(asked.get("burst"));
    const now = Date.now() * 1000;
    if (this.full === undefined) this.full = (await this.storage.get("full")) ?? 0;
    const next = Math.max(now, this.full) + SECOND_US / rate;
    if (!(next - now <= (burst * SECOND_US) / rate)) return new Response("refused\n", { status: 429 });
    this.full = next;
    // Not awaited: the runtime's output gate holds the answer until the write is on disk.
    this.storage.put("full", next);
    return new Response("granted\n");
  }
}

export default {
  async fetch(request, env) {
    const key = new URL(request.url).searchParams.get("key");
    if (key === null) return new Response("no key\n", { status: 400 });
    return env.BUCKETS.get(env.BUCKETS.idFromName(key)).fetch(request);
  },
};
