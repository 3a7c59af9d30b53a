// What a reload needs: the conversation, and the choices of its last question.

/** @typedef {import("./generation.js").Message} Message */
/** @typedef {import("./options.js").Choices} Choices */

/**
 * Let a reload come back to this answer, and to the conversation before it.
 * @param {string} id
 * @param {Message[]} messages
 * @param {Choices} choices
 */
export function remember(id, messages, choices) {
  history.replaceState(null, "", `?follow=${id}`);
  try {
    sessionStorage.setItem("conversation", JSON.stringify({ id, messages, choices }));
  } catch {
    // The browser does not store this much, or nothing at all; then a reload starts over.
  }
}

/** Forget it. */
export const forget = () => history.replaceState(null, "", location.pathname);

/**
 * @param {string} id
 * @returns {{messages: Message[], choices: Choices}} up to the question of this answer; empty if another
 *   conversation is stored
 */
export function recall(id) {
  const kept = JSON.parse(sessionStorage.getItem("conversation") ?? "{}");
  return { messages: [], choices: {}, ...(kept.id === id ? kept : {}) };
}
