// Drives AbstractChat, which is useChat without React. Each line on standard input is a command as JSON,
// and each line on standard output is the state of the chat after it. Usage: node … ai6|ai7 URL CHAT-ID default|text

import { createInterface } from "node:readline";

const [library, api, id, kind] = process.argv.slice(2);
const {
  AbstractChat,
  DefaultChatTransport,
  TextStreamChatTransport,
  lastAssistantMessageIsCompleteWithToolCalls,
} = await import(library);
const transport =
  kind === "text"
    ? new TextStreamChatTransport({ api, headers: { Accept: "text/plain" } })
    : new DefaultChatTransport({
        api,
        body: () => body,
        ...(kind === "browser" ? { fetch: browserFetch } : {}),
      });

/** Fetches as Chromium does: a lost connection is a "network error", which the hook knows. */
async function browserFetch(url, options) {
  const response = await fetch(url, options);
  const reader = response.body?.getReader();
  const pull = async (controller) => {
    try {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    } catch (error) {
      controller.error(error.name === "AbortError" ? error : new TypeError("network error"));
    }
  };
  const { status, headers } = response;
  return new Response(reader ? new ReadableStream({ pull }) : null, { status, headers });
}

let body = {}; // more fields for every request
let outputs = {}; // of the page's own tools, by name: {output} or {errorText}; a tool without one is left to the test
let isAutomatic = false;
let toolCalls = []; // what the page has run
let grown = [];
let notes = [];
let finishes = [];
let changed = () => {};
let healing = false;

class Memory {
  status = "ready";
  error = undefined;
  messages;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage(message) {
    this.messages = [...this.messages, message];
    this.#note();
  }
  popMessage() {
    this.messages = this.messages.slice(0, -1);
  }
  replaceMessage(at, message) {
    this.messages = this.messages.with(at, structuredClone(message));
    this.#note();
  }
  snapshot(value) {
    return structuredClone(value);
  }
  #note() {
    grown.push(answer().length);
    changed();
  }
}

class Chat extends AbstractChat {
  constructor(messages) {
    super({
      id,
      transport,
      state: new Memory(messages),
      onData(part) {
        notes.push(part);
        if (healing && part.type === "data-restart") setTimeout(() => chat.resumeStream(), 50);
      },
      sendAutomaticallyWhen: (options) =>
        isAutomatic && lastAssistantMessageIsCompleteWithToolCalls(options),
      onToolCall({ toolCall }) {
        toolCalls.push(toolCall);
        const output = outputs[toolCall.toolName];
        if (output) addOutput({ ...toolCall, ...output });
        changed();
      },
      onFinish({ isAbort, isDisconnect, isError, finishReason }) {
        finishes.push({ isAbort, isDisconnect, isError, finishReason });
        changed();
      },
    });
  }
}

let chat = new Chat([]);
let begun;

function addOutput({ toolName, toolCallId, output, errorText }) {
  const state = errorText === undefined ? "output-available" : "output-error";
  return chat.addToolOutput({ tool: toolName, toolCallId, state, output, errorText });
}

function answer() {
  const last = chat.messages.at(-1);
  if (last?.role !== "assistant") return "";
  return last.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

function draft() {
  const parts = chat.messages.at(-1)?.parts ?? [];
  return parts.map((part) => (part.state === "input-streaming" && part.rawInput) || "").join("");
}

async function until(holds) {
  while (!holds()) await new Promise((resolve) => (changed = resolve));
}

const commands = {
  send: (text) => chat.sendMessage({ text }),
  begin: (text) => {
    begun = chat.sendMessage({ text });
  },
  words: (length) => until(() => answer().length >= length),
  finishes: (count) => until(() => finishes.length >= count),
  calls: (count) => until(() => toolCalls.length >= count),
  drafts: (length) => until(() => draft().length >= length),
  use: (given) => ({ body = {}, outputs = {}, isAutomatic = false } = given),
  output: addOutput,
  end: () => begun,
  resume: () => chat.resumeStream(),
  beginResume: () => {
    begun = chat.resumeStream();
  },
  regenerate: () => chat.regenerate(),
  stop: () => chat.stop(),
  stopForReal: async () => {
    const stopped = await fetch(`${api}/${encodeURIComponent(id)}/stop`, { method: "POST" });
    if (stopped.status !== 204) throw new Error(await stopped.text());
  },
  heal: () => {
    healing = true;
  },
  push: (message) => chat.sendMessage(message),
  reload: () => {
    chat = new Chat(JSON.parse(JSON.stringify(chat.messages)));
  },
  look: () => {},
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, argument] = JSON.parse(line);
  await commands[name](argument);
  const { status, error, messages } = chat;
  const failure = error ? error.message : null;
  const seen = { status, error: failure, messages, grown, notes, finishes, toolCalls };
  console.log(JSON.stringify(seen));
}
process.exit(0);
