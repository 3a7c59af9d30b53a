// A request of this page as a program: for a shell, a page, Python and React.
//
// Each program sends exactly the same body. It has no key: where the service asks for one, there is a header with a
// placeholder.

import { javascript, react } from "./snippets-page.js";
import { toJson, toPython } from "./literals.js";

/**
 * @typedef {object} Asked
 * @property {import("./generation.js").Order} order as it was sent
 * @property {string} service the service's address, without a slash at the end
 * @property {boolean} hasKey whether it was sent with a key
 */

/** @type {Record<string, {title: string, write: (asked: Asked) => string}>} */
export const LANGUAGES = {
  curl: { title: "curl", write: curl },
  javascript: { title: "JavaScript", write: javascript },
  python: { title: "Python", write: python },
  react: { title: "React", write: react },
};

/**
 * Write the program that sends a request, and shows its answer.
 * @param {string} language a key of LANGUAGES
 * @param {Asked} asked
 */
export function snippet(language, { order, service, hasKey }) {
  const sent = JSON.parse(JSON.stringify(order)); // fields that are undefined are not sent
  return LANGUAGES[language].write({ order: sent, service, hasKey });
}

/**
 * The body is a here-document: in it, nothing has a meaning for the shell, and it may be longer than an argument. No
 * line of it can be the word that ends it, because a string in JSON has no line breaks.
 * @param {Asked} asked
 */
function curl({ order, service, hasKey }) {
  const key = hasKey ? ["-H \"Authorization: Bearer $STREAMSVC_KEY\""] : [];
  const parts = [
    `curl -N ${shell(`${service}/v1/generations`)}`,
    "-H 'Accept: text/event-stream'",
    "-H 'Content-Type: application/json'",
    ...key,
    "-d @- <<'JSON'",
  ];
  return `${parts.join(" \\\n  ")}\n${toJson(order)}\nJSON\n`;
}

/** @param {string} text */
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {Asked} asked */
function python({ order, service, hasKey }) {
  const key = hasKey ? "\n    \"Authorization\": f\"Bearer {os.environ['STREAMSVC_KEY']}\"," : "";
  return `\
# For Python 3.9 and later; there is nothing to install.
import json
${hasKey ? "import os\n" : ""}import sys
import urllib.error
import urllib.request

service = ${toPython(service)}
order = ${toPython(order)}
headers = {
    "Accept": "text/event-stream",
    "Content-Type": "application/json",${key}
}

request = urllib.request.Request(f"{service}/v1/generations", json.dumps(order).encode(), headers)
try:
    response = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as refused:
    sys.exit(json.load(refused)["detail"])

with response:
    for line in response:
        if not line.startswith(b"data: "):
            continue
        event = json.loads(line[6:])
        if event["type"] in ("text", "refusal"):
            print(event["text"], end="", flush=True)
        elif event["type"] == "tool_call":
            print(event["name"], event["arguments"])
        elif event["type"] == "restart":
            print("\\n[The answer starts over.]")
        elif event["type"] == "done":
            if event["status"] != "completed":
                sys.exit("\\n" + (event["error"] or {}).get("message", event["status"]))
            break
    else:
        sys.exit("\\nThe connection was lost.")
`;
}
