// Checks a value against a JSON Schema: the keywords that schemas of answers have. A page of yours may use a library.

/** @type {Record<string, (value: any) => boolean>} */
const TYPES = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: Number.isInteger,
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
  array: Array.isArray,
  object: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
};

/**
 * Return what is wrong with a value, or an empty text.
 * @param {any} value
 * @param {any} schema
 * @param {string} [path] of the value
 * @returns {string} such as `$.minutes is not of type integer.`
 */
export function mismatch(value, schema, path = "$") {
  if (schema === false) return `${path} is not allowed.`;
  if (!TYPES.object(schema)) return "";
  const types = [schema.type ?? []].flat();
  if (types.length && !types.some((type) => TYPES[type]?.(value))) return `${path} is not of type ${types.join(" or ")}.`;
  const allowed = "const" in schema ? [schema.const] : schema.enum;
  if (allowed && !allowed.some((/** @type {any} */ one) => JSON.stringify(one) === JSON.stringify(value))) {
    return `${path} is not one of ${JSON.stringify(allowed)}.`;
  }
  if (value < schema.minimum || value > schema.maximum) return `${path} is out of bounds.`;
  if (TYPES.array(value)) return firstOf(value.map((/** @type {any} */ item, /** @type {number} */ at) =>
    () => mismatch(item, schema.items, `${path}[${at}]`)));
  return TYPES.object(value) ? ofObject(value, schema, path) : "";
}

/**
 * @param {any} value
 * @param {any} schema
 * @param {string} path
 */
function ofObject(value, schema, path) {
  const missing = (schema.required ?? []).find((/** @type {string} */ name) => !Object.hasOwn(value, name));
  if (missing !== undefined) return `${path}.${missing} is missing.`;
  const properties = schema.properties ?? {};
  return firstOf(Object.keys(value).map((name) => () => {
    const own = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
    return mismatch(value[name], own, `${path}.${name}`);
  }));
}

/** @param {(() => string)[]} checks */
function firstOf(checks) {
  for (const check of checks) {
    const wrong = check();
    if (wrong) return wrong;
  }
  return "";
}
