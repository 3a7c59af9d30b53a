// A server's own use of the AI SDK: streamText with tools that run there, and structured answers.
// Usage: node ai_sdk_server.js ai6|ai7 URL. Prints one JSON object: what the program saw.

import { argv } from "node:process";

globalThis.AI_SDK_LOG_WARNINGS = false; // version 7 warns of generateObject
const [, , library, url] = argv;
const { generateObject, jsonSchema, Output, stepCountIs, isStepCount, streamText, tool } =
  await import(library);
const { createOpenAICompatible } = await import(
  { ai6: "compatible6", ai7: "@ai-sdk/openai-compatible" }[library]
);
const own = { name: "streamsvc", baseURL: `${url}/v1`, supportsStructuredOutputs: true };
const model = createOpenAICompatible(own)("fake");

const ran = [];
const weather = tool({
  description: "Tells the weather of a city.",
  inputSchema: jsonSchema({
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
  }),
  execute: async (input) => {
    ran.push(input);
    return { ...input, sky: "clear" };
  },
});
const event = jsonSchema({
  type: "object",
  properties: { name: { type: "string" }, people: { type: "array", items: { type: "string" } } },
  required: ["name", "people"],
  additionalProperties: false,
});

/** Asks twice, with the first answer in the second question's history. */
async function conversation() {
  const messages = [];
  const turns = [];
  for (const city of ["Paris", "Rome"]) {
    messages.push({ role: "user", content: `How is the weather in ${city} and London?` });
    const answer = streamText({
      model,
      messages,
      tools: { get_weather: weather },
      stopWhen: (stepCountIs ?? isStepCount)(3),
    });
    let text = "";
    for await (const piece of answer.textStream) text += piece;
    messages.push(...(await answer.response).messages);
    turns.push({ text, steps: (await answer.steps).map((step) => step.finishReason) });
  }
  return turns;
}

async function grown() {
  const answer = streamText({ model, prompt: "An event", output: Output.object({ schema: event }) });
  let seen = 0;
  for await (const _ of answer.partialOutputStream) seen += 1;
  return { seen, whole: await answer.output };
}

const turns = await conversation();
const { object } = await generateObject({ model, schema: event, prompt: "An event" });
console.log(JSON.stringify({ turns, ran, object, grown: await grown() }));
