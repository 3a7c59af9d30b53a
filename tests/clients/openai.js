// Asks with the package openai, as a page or a server would. Each JSON line of input is a question, and each line of
// output is what the client made of the answer. Usage: node openai.js PACKAGE
//
// In: {"number", "url", "how": "stream" | "helper" | "whole" | "list" | "retrieve", "body", "headers",
//      "leave_after": null | content chunks, "retries": null | number}, or {"abort": number}.

import { createInterface } from "node:readline";

const { OpenAI } = await import(process.argv[2]);
const aborts = new Map();

function take(report, chunk) {
  report.id = chunk.id;
  report.model = chunk.model;
  if (chunk.usage) report.usage = chunk.usage;
  for (const { delta, finish_reason } of chunk.choices) {
    report.role = delta.role ?? report.role;
    report.text += delta.content ?? "";
    report.reasoning += delta.reasoning_content ?? "";
    report.finish_reason = finish_reason ?? report.finish_reason;
    if (delta.content) report.pieces += 1;
  }
}

async function ask(task, report) {
  const client = new OpenAI({
    apiKey: "any",
    baseURL: `${task.url}/v1`,
    defaultHeaders: task.headers,
    ...(task.retries === null ? {} : { maxRetries: task.retries }),
  });
  const options = { signal: aborts.get(task.number).signal };
  const completions = client.chat.completions;
  if (task.how === "list") {
    for await (const model of client.models.list(options)) report.models.push(model.id);
  } else if (task.how === "retrieve") {
    report.models.push((await client.models.retrieve(task.body.model, options)).id);
  } else if (task.how === "whole") {
    const { data, response } = await completions.create(task.body, options).withResponse();
    report.generation = response.headers.get("x-generation-id");
    const { message, finish_reason } = data.choices[0];
    take(report, { ...data, choices: [{ delta: message, finish_reason }] });
  } else if (task.how === "stream") {
    const body = { ...task.body, stream: true };
    const { data, response } = await completions.create(body, options).withResponse();
    report.generation = response.headers.get("x-generation-id");
    for await (const chunk of data) {
      take(report, chunk);
      if (task.leave_after && report.pieces >= task.leave_after) break;
    }
  } else {
    const stream = completions.stream(task.body, options);
    for await (const chunk of stream) {
      take(report, chunk);
      if (task.leave_after && report.pieces >= task.leave_after) return stream.abort();
    }
    const { message } = (await stream.finalChatCompletion()).choices[0];
    if ((message.content ?? "") !== report.text) throw new Error("the helper has another text");
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  if ("abort" in task) {
    aborts.get(task.abort).abort();
    continue;
  }
  aborts.set(task.number, new AbortController());
  const report = {
    number: task.number, id: "", generation: null, model: "", role: null, text: "", reasoning: "",
    pieces: 0, finish_reason: null, usage: null, models: [], error: null,
  };
  ask(task, report)
    .catch((error) => {
      const { status, code, type, param } = error;
      report.error = { kind: error.constructor.name, status, code, type, param, message: error.message };
    })
    .then(() => console.log(JSON.stringify(report)));
}
