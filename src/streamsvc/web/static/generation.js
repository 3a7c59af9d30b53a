// A generation, as a front end sees it: ask for one, follow it, look at it, stop it.
// This file is the example to copy, with access.js, which sends the requests. Nothing in them is specific to the
// playground.
//
// Addresses are relative to the page, so that it also works under a path of a proxy.

import { hasKey, request } from "./access.js";

/**
 * @typedef {{type: "text", text: string} | {type: "image_url", image_url: {url: string}}} Part
 *
 * @typedef {object} ToolCall
 * @property {string} id the result refers to it
 * @property {"function"} type
 * @property {{name: string, arguments: string}} function
 * @property {object} [provider_data] goes back as it came
 *
 * @typedef {object} Message
 * @property {"system" | "user" | "assistant" | "tool"} role
 * @property {string | Part[]} content
 * @property {ToolCall[]} [tool_calls] of an assistant
 * @property {string} [refusal] of an assistant
 * @property {object} [provider_data] of an assistant: goes back as it came
 * @property {string} [tool_call_id] of a result
 *
 * @typedef {object} Order what to ask; docs/reference/http.md has all fields
 * @property {Message[]} messages the conversation so far
 * @property {string} [provider]
 * @property {number} [grace_seconds] how long to continue after the last viewer has left
 * @property {string} [system]
 * @property {number} [temperature]
 * @property {number} [max_tokens]
 * @property {number} [seed]
 * @property {string} [stop] ends the answer where the model writes it
 * @property {string} [fault] how a fake provider fails
 * @property {string} [reasoning_effort]
 * @property {boolean} [logprobs]
 * @property {number} [top_logprobs]
 * @property {object[]} [tools]
 * @property {object} [response_format]
 *
 * @typedef {object} Snapshot
 * @property {string} id
 * @property {string} status `running`, or how it ended
 * @property {string} text
 * @property {string} provider
 * @property {string | null} outcome
 * @property {string} last_event_id
 *
 * @typedef {{type: string, text?: string, [key: string]: any}} Event
 */

/**
 * Ask. When this returns, the answer is being generated and waits for its first viewer.
 * @param {Order} order
 * @returns {Promise<Snapshot>}
 */
export function create(order) {
  return request("v1/generations", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(order),
  });
}

/** @param {string} id */
const addressOf = (id) => `v1/generations/${encodeURIComponent(id)}`;

/**
 * Return the answer so far, in one piece.
 * @param {string} id
 * @returns {Promise<Snapshot>}
 */
export const snapshot = (id) => request(addressOf(id));

/**
 * Stop it, at once, for every viewer.
 * @param {string} id
 * @returns {Promise<Snapshot>}
 */
export const stop = (id) => request(`${addressOf(id)}/stop`, { method: "POST" });

/**
 * The address of its events: all of them, or those after a cursor.
 * @param {string} id
 * @param {string} [cursor] the id of the last event that was seen
 */
export const eventsOf = (id, cursor) =>
  `${addressOf(id)}/events` + (cursor ? `?last_event_id=${encodeURIComponent(cursor)}` : "");

/**
 * The address that an EventSource opens. It can send no key, so a ticket takes the key's place: it opens this
 * generation once, and the browser's reconnects with the id of an event that they have seen.
 * @param {string} id
 * @param {string} [cursor]
 * @returns {Promise<string>}
 */
async function streamOf(id, cursor) {
  if (!hasKey()) return eventsOf(id, cursor);
  const { ticket } = await request("v1/tickets", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ generation: id }),
  });
  const after = cursor ? `&last_event_id=${encodeURIComponent(cursor)}` : "";
  return `v1/stream?ticket=${encodeURIComponent(ticket)}${after}`;
}

/**
 * Follow it. When the connection is lost, the browser reconnects by itself, with the id of the last
 * event it has seen, and resumes at that word. It has given up only if `onerror` finds it CLOSED: then
 * the response was not an event stream.
 * @param {string} id
 * @param {(event: Event, eventId: string) => void} onEvent
 * @param {string} [cursor]
 * @returns {Promise<EventSource>}
 */
export async function follow(id, onEvent, cursor) {
  const source = new EventSource(await streamOf(id, cursor));
  for (const name of [
    "start", "restart", "message", "reasoning", "refusal", "logprobs", "tool", "status", "done",
  ]) {
    source.addEventListener(name, (event) => {
      if (name === "done") source.close();
      onEvent(JSON.parse(event.data), event.lastEventId);
    });
  }
  return source;
}
