// Figures as people read them.

/**
 * @param {number | null} value
 * @returns {string}
 */
export function seconds(value) {
  if (value === null) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 100) return `${value.toPrecision(2).replace(/\.0$/, "")} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** @param {number} value */
export function bytes(value) {
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(value) / 3));
  return `${count(value / 1000 ** power)} ${UNITS[power]}`;
}

/** @param {number} value */
export const count = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toFixed(1)));

/**
 * A time of this day, or with its date.
 * @param {number} at seconds since 1970
 */
export function time(at) {
  const then = new Date(at * 1000);
  const today = then.toDateString() === new Date().toDateString();
  return (today ? "" : `${then.toLocaleDateString("sv")} `) + then.toLocaleTimeString("sv");
}
