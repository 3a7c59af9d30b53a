// The pace of an answer, from pieces that arrived when they were sent.
//
// That is not so for what a connection catches up on after it opens, nor across a time away (a lost or closed
// connection), a hidden tab, or a provider that is asked again. A gap next to such a time does not count; the time is
// listed by name instead. The rate counts all pieces between two that arrived when they were sent, because the provider
// goes on while this page is away. Only the time of a provider that is asked again is left out.

/** What arrives without a pause of this length after a connection has opened was waiting for it. */
const PAUSE_MS = 20;

/** The longest time that this takes; a stream without any pause counts from then on. */
const CATCH_UP_MS = 1000;

/** How many of the latest gaps are kept. */
const KEPT = 1000;

/** The events that are tokens, or pieces of several. */
const PIECES = new Set(["text", "reasoning", "refusal", "tool_call_arguments"]);

/**
 * @typedef {"away" | "hidden" | "retrying"} Reason why a time does not count
 * @typedef {{ms: number, reason?: Reason}} Gap between two pieces; one with a reason is not the provider's
 */

/** The states of a connection in which the page is away from the answer. */
const AWAY = new Set(["cut", "reconnecting", "closed", "refused"]);

export class Meter {
  /** @type {Set<Reason>} why nothing counts now */
  #absent = new Set();
  /** @type {Reason} */
  #reason = "away";
  #absentSince = 0;
  #opened = 0;
  #isCatchingUp = true;
  #isOver = false;
  #isRetrying = false;
  #hasThoughts = false;
  /** When the last event of any kind arrived, and the last piece that arrived when it was sent. */
  #lastEvent = 0;
  #lastPiece = 0;
  #sent = 0;
  /** The latest piece that arrived when it was sent: at what time, and how many there were then. */
  #mark = /** @type {{at: number, pieces: number} | null} */ (null);
  #total = { pieces: 0, ms: 0 };

  /** @type {Gap[]} the latest ones */
  gaps = [];

  /** Whether this page was away, or hidden, before the end. */
  wasLeft = false;

  /** How many pieces the answer has. */
  pieces = 0;

  /** The milliseconds from the question to the first piece; null if that was not seen from here. */
  firstMs = /** @type {number | null} */ (null);

  /**
   * @param {number} now milliseconds
   * @param {boolean} isFromStart whether the question goes out now; otherwise its answer may have begun long ago
   */
  constructor(now, isFromStart = true) {
    this.#sent = isFromStart ? now : NaN;
    this.#opened = this.#lastEvent = now;
  }

  /** Pieces per second; null if that is not known. */
  get rate() {
    const { pieces, ms } = this.#total;
    return ms > 0 ? (1000 * pieces) / ms : null;
  }

  /**
   * The pace, for a reader: in tokens, once it is known how many the answer has.
   * @param {any} usage of the answer; null before its end
   */
  pace(usage) {
    const { rate } = this;
    if (rate === null) return "–";
    if (!usage || !this.pieces) return `${rate.toFixed(1)} pieces / s`;
    const unseen = this.#hasThoughts ? 0 : (usage.reasoning_tokens ?? 0); // some providers do not show their reasoning
    const tokens = (rate * (usage.output_tokens - unseen)) / this.pieces;
    return `${usage.estimated ? "about " : ""}${tokens.toFixed(1)} tokens / s`;
  }

  /** The gaps between pieces, in order of their length; the times that do not count are left out. */
  get counted() {
    return this.gaps.filter(({ reason }) => !reason).map(({ ms }) => ms).sort((a, b) => a - b);
  }

  /** @returns {Map<Reason, number>} the milliseconds that do not count */
  get absences() {
    const found = new Map();
    for (const { ms, reason } of this.gaps) if (reason) found.set(reason, (found.get(reason) ?? 0) + ms);
    return found;
  }

  /**
   * Nothing counts from now on.
   * @param {Reason} reason
   * @param {number} now
   */
  leave(reason, now) {
    if (this.#isOver) return;
    this.wasLeft = true;
    if (!this.#absent.size) [this.#reason, this.#absentSince] = [reason, now];
    this.#absent.add(reason);
    this.#lastPiece = 0;
    if (!this.pieces) this.#sent = NaN;
  }

  /**
   * A reason is over. What is caught up on does not count either.
   * @param {Reason} reason
   * @param {number} now
   */
  comeBack(reason, now) {
    if (!this.#absent.delete(reason) || this.#absent.size || this.#isOver) return;
    if (this.pieces) this.#add({ ms: now - this.#absentSince, reason: this.#reason });
    this.open(now);
  }

  /**
   * The connection is in this state now.
   * @param {string} state
   * @param {number} now
   */
  state(state, now) {
    if (AWAY.has(state)) this.leave("away", now);
    if (state !== "open") return;
    this.open(now);
    this.comeBack("away", now);
  }

  /** @param {number} now when a connection has opened */
  open(now) {
    this.#opened = this.#lastEvent = now;
    this.#isCatchingUp = true;
    this.#lastPiece = 0;
  }

  /**
   * @param {string} type of an event
   * @param {number} now
   */
  event(type, now) {
    const isLive = this.#absent.size === 0 && this.#isNow(now);
    this.#lastEvent = now;
    if (type === "start" || type === "restart") this.pieces = 0;
    if (type === "restart") [this.gaps, this.#total] = [[], { pieces: 0, ms: 0 }]; // another answer, at another pace
    if (type === "restart" || type === "status") this.#isRetrying = this.#mark !== null;
    if (type === "done") this.#isOver = true;
    this.#hasThoughts ||= type === "reasoning";
    if (PIECES.has(type)) this.#piece(isLive, now);
  }

  /** @param {number} now */
  #isNow(now) {
    const isPause = now - this.#lastEvent >= PAUSE_MS || now - this.#opened >= CATCH_UP_MS;
    this.#isCatchingUp &&= !isPause;
    return !this.#isCatchingUp;
  }

  /**
   * @param {boolean} isLive
   * @param {number} now
   */
  #piece(isLive, now) {
    if (!this.pieces && this.firstMs === null && this.#sent <= now) this.firstMs = now - this.#sent;
    this.#sent = NaN; // only the very first piece is the first one
    this.pieces += 1;
    if (!isLive) return;
    const ms = now - this.#lastPiece;
    if (this.#lastPiece && this.#isRetrying) this.#add({ ms, reason: "retrying" });
    else if (this.#lastPiece) this.#add({ ms });
    if (this.#mark && !this.#isRetrying) {
      this.#total.pieces += this.pieces - this.#mark.pieces;
      this.#total.ms += now - this.#mark.at;
    }
    this.#mark = { at: now, pieces: this.pieces };
    this.#isRetrying = false;
    this.#lastPiece = now;
  }

  /** @param {Gap} gap */
  #add(gap) {
    this.gaps.push(gap);
    if (this.gaps.length > KEPT) this.gaps.shift();
  }
}

/** @param {number} ms such as 240 ms or 1.6 s */
export const time = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
