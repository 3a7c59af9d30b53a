// Conversations with tools and structured answers, through openai-node's own helpers.
// Usage: node openai_tools.js PACKAGE URL. Prints one JSON object: what a program saw, by conversation.

import { argv } from "node:process";
import { z } from "zod";

const [, , name, url] = argv;
const { default: OpenAI } = await import(name);
const { zodFunction, zodResponseFormat } = await import(`${name}/helpers/zod`);
const completions = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 }).chat
  .completions;

const PARALLEL = { role: "user", content: "What is the weather in Paris and London?" };
const City = z.object({ city: z.string() });
const Event = z.object({ name: z.string(), people: z.array(z.string()) });

const weather = zodFunction({
  name: "get_weather",
  parameters: City,
  function: ({ city }) => ({ city, degrees: 20 }),
});
const time = {
  type: "function",
  function: { name: "get_time", parse: JSON.parse, function: () => "noon" },
};

/** Lets the helper call the tools and send their results, until there is an answer in words. */
async function run(body) {
  const runner = completions.runTools({ model: "fake", ...body });
  const text = await runner.finalContent();
  const calls = runner.messages.flatMap((message) => message.tool_calls ?? []);
  const roles = runner.messages.map((message) => message.role);
  return {
    text,
    roles,
    calls: calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
  };
}

async function streamed() {
  const tool = { type: "function", function: { name: "get_weather", parameters: z.toJSONSchema(City) } };
  const stream = completions.stream({ model: "fake", messages: [PARALLEL], tools: [tool] });
  const { choices } = await stream.finalChatCompletion();
  const { message, finish_reason } = choices[0];
  return { calls: message.tool_calls.map((call) => call.function), finish_reason };
}

const asked = {
  model: "fake",
  messages: [{ role: "user", content: "An event" }],
  response_format: zodResponseFormat(Event, "event"),
};

console.log(
  JSON.stringify({
    whole: await run({ messages: [PARALLEL], tools: [weather] }),
    streamed: await run({ messages: [PARALLEL], tools: [weather], stream: true }),
    empty: await run({ messages: [{ role: "user", content: "The time?" }], tools: [time] }),
    accumulated: await streamed(),
    parsed: (await completions.parse(asked)).choices[0].message.parsed,
    parsed_stream: (await completions.stream(asked).finalChatCompletion()).choices[0].message.parsed,
  }),
);
