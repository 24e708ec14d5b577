// Checked by `.ci/packages` with the compiler of TypeScript.
import { Client, Conflict, Problem, Server, withStore, type Event } from "annals-store";
import { withAnnals } from "annals-store/jest";
import { annals } from "annals-store/node-test";
import { test as vitest } from "annals-store/vitest";

export async function read(store: Client): Promise<Event[]> {
  const events: Event[] = [];
  for await (const event of store.events({ eventType: ["OrderPaid"], limit: 10 })) events.push(event);
  const { lastVersion } = await store.append("order-1", { eventType: "OrderPlaced" }, { expected: "none" });
  const next: number = lastVersion + 1;
  await store.append("order-1", [{ eventType: "OrderPaid", tags: ["a"] }], { expected: next, durability: "synced" });
  return events;
}

export function actual(error: unknown): number | undefined {
  if (error instanceof Conflict) return error.actual;
  return error instanceof Problem ? error.status : undefined;
}

export async function start(): Promise<number> {
  const server = await Server.start();
  const store = await server.namespace("a");
  await server.stop();
  return withStore(() => store.count());
}

export const body: () => Promise<void> = withAnnals(async (store) => void (await store.count({ user: "anna" })));
export const kept: Promise<Client> = annals({ after() {} });
vitest("a fixture", async ({ annals: store }) => void (await store.snapshot()));

// @ts-expect-error: an event needs a type.
export const untyped = (store: Client) => store.append("order-1", { eventData: 1 });
// @ts-expect-error: no such expectation.
export const unknown = (store: Client) => store.append("order-1", { eventType: "X" }, { expected: "all" });
