// What happens, as sentences for people.

import { Refused } from "./access.js";
import { endingOf } from "./reasons.js";

/** @param {unknown} problem */
export const sentenceOf = (problem) =>
  problem instanceof Refused ? problem.message : "Something went wrong in this page.";

/**
 * Say that a reload may lose a conversation; empty if it does not.
 * @type {Record<import("./shelf.js").Keeping, string>}
 */
export const KEEPING = {
  kept: "",
  "too large": "This conversation is too large for this browser to keep: a reload may lose it.",
  refused: "This browser keeps nothing for this page: a reload may lose the conversation.",
};

/** @param {string} eventId */
export const seqOf = (eventId) => eventId.slice(eventId.lastIndexOf(".") + 1);

/**
 * Say how an answer ended.
 * @param {import("./generation.js").Event} done
 */
export function endOf({ status, finish_reason, provider, model, usage, error }) {
  const by = `${provider}/${model}`;
  const tokens = usage ? `, ${tokensOf(usage)}` : "";
  if (error) return error.message;
  if (status === "completed") return `Complete: ${by}${tokens}.`;
  if (status === "stopped") return `Stopped: ${by}${tokens}.`;
  return `Incomplete, because ${endingOf(finish_reason)}: ${by}${tokens}.`;
}

/**
 * The tokens of an answer, in words for a reader: "about" those that the service counted in the provider's place.
 * @param {{output_tokens: number, estimated?: boolean}} usage
 */
export const tokensOf = ({ output_tokens: count, estimated }) =>
  `${estimated ? "about " : ""}${count} token${count === 1 ? "" : "s"}`;

/** @param {unknown} problem whether the service no longer has the answer */
export const isGone = (problem) => problem instanceof Refused && problem.code === "generation_not_found";

/**
 * Say why an answer cannot be followed.
 * @param {unknown} problem
 * @param {boolean} hasWords whether some of it is shown
 */
export function lossOf(problem, hasWords) {
  if (isGone(problem)) return `The service no longer has ${hasWords ? "the rest of " : ""}this answer.`;
  return `${problem ? sentenceOf(problem) : "The connection was refused."} You can come back to this answer.`;
}

/** @param {import("./generation.js").Event} start or a status: it says what the provider lacks */
export function changesOf({ dropped_parameters: dropped = [], adjusted_parameters: adjusted = {} }) {
  const left = dropped.length ? [`The provider lacks, and does not get: ${dropped.join(", ")}.`] : [];
  const nearest = Object.entries(adjusted).map(([name, value]) => `It gets the nearest ${name}: ${value}.`);
  return [...left, ...nearest].join(" ");
}
