// Codes of the service as words for people: why a provider is asked again, and how an answer ended.
// docs/reference/http.md lists the codes; a test checks that each one has words here.

/** @type {Record<string, string>} what follows the name of a provider entry */
export const FAILURES = {
  busy: "has no free slot",
  circuit_open: "keeps failing and is skipped for a while",
  content_filter: "refused the request because of its content",
  context_length_exceeded: "finds the conversation too long",
  empty_answer: "sent an empty answer",
  provider_auth: "refused the service’s credentials",
  provider_misconfigured: "does not answer at its configured address",
  provider_model_not_found: "does not know the model",
  provider_quota: "says that the service’s quota is used up",
  provider_rate_limited: "is rate-limited",
  provider_refused: "refused the request",
  provider_timeout: "took too long",
  provider_unavailable: "is not available",
  upstream_cut: "broke off in the middle of the answer",
  upstream_error: "reported an error",
  upstream_invalid: "sent an answer that cannot be read",
};

/**
 * @param {Record<string, string>} table
 * @param {string} code from a stream, so it may be any text, such as `__proto__`
 * @param {string} otherwise
 */
const wordsOf = (table, code, otherwise) => (Object.hasOwn(table, code) ? table[code] : otherwise);

/** A worker of the service failed, and not a provider. */
const WORKER_LOST = "worker_lost";

/** @type {Record<string, string>} why the call to the provider is over */
export const OUTCOMES = {
  client_stop: "the answer was stopped",
  completed: "the answer is complete",
  connect_timeout: "the provider could not be reached in time",
  drained: "the service shut down",
  first_token_timeout: "the first word took too long",
  idle_timeout: "the next word took too long",
  internal_error: "something went wrong inside the service",
  log_full: "the answer reached the longest length that the service keeps",
  no_viewers: "nobody was watching",
  total_timeout: "the whole answer took too long",
  upstream_cut: "the provider broke off",
  upstream_error: "the provider failed",
  upstream_lost: "the process that generated it is gone",
};

/** @type {Record<string, string>} why a model ended an answer that is not complete */
export const ENDS = {
  content_filter: "the provider’s content filter cut it",
  error: "an error cut it",
  length: "it reached the token limit",
  other: "the model ended it",
  stop: "the model ended it",
  stopped: "it was stopped",
  tool_calls: "the model calls a tool",
};

/**
 * Say why an entry failed, without a full stop.
 * @param {string} name of the entry
 * @param {string} reason a code
 */
export function failureOf(name, reason) {
  if (reason === WORKER_LOST) return "The worker that produced the answer is gone";
  return `${name} ${wordsOf(FAILURES, reason, "failed")}`;
}

/**
 * Say what happens before there is a word, without a full stop.
 * @param {string} before the entry that failed
 * @param {{state: string, provider: string, reason: string}} status the event
 */
export function progressOf(before, { state, provider, reason }) {
  const next = state === "retrying" ? "asking again" : `asking ${provider} instead`;
  return `${failureOf(before, reason)}; ${next}`;
}

/**
 * Say why the answer begins again, without a full stop.
 * @param {string} before the entry that failed
 * @param {{provider: string, reason: string}} restart the event
 */
export const restartOf = (before, { provider, reason }) => `${failureOf(before, reason)}; ${provider} starts over`;

/** @param {string} outcome a code */
export const outcomeOf = (outcome) => wordsOf(OUTCOMES, outcome, "the answer ended");

/**
 * Say why an answer is not complete, without a full stop.
 * @param {string} finish a code
 */
export const endingOf = (finish) => wordsOf(ENDS, finish, ENDS.other);
