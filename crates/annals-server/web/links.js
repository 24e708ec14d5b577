// Addresses of the pages. Each view has one, with its filters, and keeps the namespace.

import { make } from "./dom.js";
import { namespace } from "./api.js";

export function to(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== "") query.append(key, one);
  }
  if (namespace() !== null) query.set("ns", namespace());
  const text = query.toString();
  return `/ui${path}${text === "" ? "" : `?${text}`}`;
}

const link = (path, parameters, ...children) => make("a", { href: to(path, parameters) }, ...children);

export const event = (position, text = position) => link(`/events/${encodeURIComponent(position)}`, {}, text);
export const stream = (id) => link(`/streams/${encodeURIComponent(id)}`, {}, id);
export const trace = (id) => link(`/traces/${encodeURIComponent(id)}`, {}, id);
export const events = (parameters, ...children) => link("/events", parameters, ...children);
