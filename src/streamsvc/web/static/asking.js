// What a question becomes on its way to the service.

import { Refused } from "./access.js";
import { create } from "./generation.js";

/**
 * @param {string} prompt
 * @param {import("./images.js").Image[]} images
 * @returns {import("./generation.js").Message}
 */
export function questionOf(prompt, images) {
  if (!images.length) return { role: "user", content: prompt };
  const pictures = images.map(({ url }) => ({ type: /** @type {const} */ ("image_url"), image_url: { url } }));
  return { role: "user", content: [{ type: "text", text: prompt }, ...pictures] };
}

/**
 * Ask with the chosen grace; where the service allows less, with the one that it chooses.
 * @param {import("./generation.js").Order} order
 * @returns {Promise<{id: string, grace: number | undefined}>}
 */
export async function createWithin(order) {
  try {
    return { id: (await create(order)).id, grace: order.grace_seconds };
  } catch (problem) {
    if (!(problem instanceof Refused) || problem.field !== "grace_seconds") throw problem;
    return { id: (await create({ ...order, grace_seconds: undefined })).id, grace: undefined };
  }
}
