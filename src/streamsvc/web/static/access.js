// Requests to the service, with the key of this tab if the service asks for one.
//
// The key stays in a variable: not in an address, the page, a cookie or the browser's storage. A reload forgets it.

/**
 * What the service says when it refuses: `message` is a sentence for people (RFC 9457, `detail`).
 */
export class Refused extends Error {
  /** @param {{detail?: string, code?: string, field?: string}} problem */
  constructor(problem) {
    super(problem.detail ?? "The service sent a response that cannot be read.");
    this.code = problem.code;
    this.field = problem.field;
  }
}

const MAX_MS = 10_000;

let key = "";

/** An address that answers 401 to a key that does not count. */
let checkedAt = "v1/providers";

/** @type {(reason: string) => Promise<boolean>} */
let askPerson = async () => false;

/** @type {Promise<boolean> | null} so that several requests ask once */
let asking = null;

/** Whether requests of this page have a key. */
export const hasKey = () => key !== "";

/**
 * Say who asks for a key when the service wants one.
 * @param {(reason: string) => Promise<boolean>} ask gets the sentence that says why the last key does not count,
 *   "" if there was none; true once `tryKey` has accepted a key
 */
export function onKeyNeeded(ask) {
  askPerson = ask;
}

/**
 * Say where a key must count, if not for the API.
 * @param {string} address answers 401 to a key that does not
 */
export function checkKeysAt(address) {
  checkedAt = address;
}

/**
 * Use a key from now on if the service accepts it.
 * @param {string} candidate
 * @returns {Promise<string>} why it is not accepted, in a sentence; "" if it is
 */
export async function tryKey(candidate) {
  if (!/^[\x21-\x7e]+$/.test(candidate)) return "A key has letters, digits and signs of ASCII, without spaces.";
  try {
    const response = await once(checkedAt, {}, candidate);
    if (response.status === 401) return (await refusalOf(response)).message;
  } catch (problem) {
    return problem instanceof Refused ? problem.message : "The key cannot be checked.";
  }
  key = candidate;
  return "";
}

/**
 * Send a request. If the service asks for a key, or no longer accepts this one, ask for another and send it again.
 * @param {string} address
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} of any status
 * @throws {Refused} the service cannot be reached
 */
export async function send(address, options = {}) {
  for (;;) {
    const sent = key;
    const response = await once(address, options, sent);
    if (response.status !== 401) return response;
    const reason = sent ? (await refusalOf(response.clone())).message : "";
    if (key === sent && !(await askForKey(reason))) return response;
  }
}

/**
 * Send a request; the answer's JSON, or a `Refused`.
 * @param {string} address
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export async function request(address, options) {
  const response = await send(address, options);
  if (!response.ok) throw await refusalOf(response);
  return response.json().catch(() => ({}));
}

/** @param {string} reason */
function askForKey(reason) {
  asking ??= askPerson(reason).finally(() => (asking = null));
  return asking;
}

/**
 * @param {string} address
 * @param {RequestInit} options
 * @param {string} credential
 */
async function once(address, options, credential) {
  const headers = new Headers(options.headers);
  if (credential) headers.set("Authorization", `Bearer ${credential}`);
  try {
    return await fetch(address, { signal: AbortSignal.timeout(MAX_MS), ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused({
      detail:
        "The service cannot be reached, all connections of the browser to it are taken, " +
        "or this page's origin is not in cors.origins.",
      code: "unreachable",
    });
  }
}

/**
 * Read why a request is refused.
 * @param {Response} response
 * @returns {Promise<Refused>}
 */
export async function refusalOf(response) {
  const between = `Something between this page and the service answered with status ${response.status}; try again.`;
  return new Refused({ ...(await response.json().catch(() => ({ detail: between }))) });
}
