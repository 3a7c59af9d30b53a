// The examples on offer: a tool that this page answers by itself, and two schemas.

/** @param {Record<string, object>} properties all of them required */
const object = (properties) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});

/** @type {Record<string, object[]>} */
export const TOOLS = {
  weather: [{
    type: "function",
    function: {
      name: "get_weather",
      description: "Returns the current weather in a city.",
      parameters: object({ city: { type: "string", description: "a name, such as Paris" } }),
    },
  }],
};

/** @type {Record<string, object>} */
export const SCHEMAS = {
  recipe: object({
    title: { type: "string" },
    minutes: { type: "integer" },
    steps: { type: "array", items: { type: "string" } },
  }),
  tasks: object({
    tasks: {
      type: "array",
      items: object({ title: { type: "string" }, urgency: { type: "string", enum: ["low", "high"] } }),
    },
  }),
};

/**
 * Run the example tool; another tool's result is empty.
 * @param {string} name
 * @param {string} args JSON
 */
export function exampleResult(name, args) {
  if (name !== "get_weather") return "";
  const { city } = JSON.parse(args);
  return JSON.stringify({ city, celsius: 10 + (String(city).length % 15), sky: "cloudy" });
}
