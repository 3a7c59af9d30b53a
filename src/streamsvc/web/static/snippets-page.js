// A request of this page as a program for another page: plain JavaScript, and a component for React.

import { toJavaScript } from "./literals.js";

/** @typedef {import("./snippets.js").Asked} Asked */

const KEY = 'const key = "YOUR_KEY"; // only to try it out: in a real page, your back end has the key and asks for tickets\n';

/**
 * What both programs begin with.
 * @param {Asked} asked
 */
const constants = ({ order, service, hasKey }) => `\
const service = ${toJavaScript(service)}; // cors.origins has to list your page's origin, unless it is this one
${hasKey ? KEY : ""}const headers = { "Content-Type": "application/json"${hasKey ? ", Authorization: `Bearer ${key}`" : ""} };
const order = ${toJavaScript(order)};
`;

/** Keyless, an answer's id is enough to follow it; an EventSource sends no key, so it needs a ticket. */
const ADDRESS = {
  open: "`${service}/v1/generations/${id}/events`",
  ticket: `\
// An EventSource can send no key. A ticket opens one stream, once.
async function addressOf(id) {
  const body = JSON.stringify({ generation: id });
  const response = await fetch(\`\${service}/v1/tickets\`, { method: "POST", headers, body });
  const { ticket } = await response.json();
  return \`\${service}/v1/stream?ticket=\${ticket}\`;
}

`,
};

/** @param {Asked} asked */
export function javascript(asked) {
  const tools = asked.order.tools ? `
source.addEventListener("tool", (event) => {
  const call = JSON.parse(event.data);
  if (call.type === "tool_call") answer.append(\`\${call.name}(\${call.arguments})\\n\`);
});` : "";
  return `\
// For a page: put it into <script type="module">, or into the console of one.
${constants(asked)}
const answer = document.createElement("p");
answer.style.whiteSpace = "pre-wrap";
document.body.append(answer);

${asked.hasKey ? ADDRESS.ticket : ""}const response = await fetch(\`\${service}/v1/generations\`, {
  method: "POST",
  headers,
  body: JSON.stringify(order),
});
const { id, detail } = await response.json();
if (!response.ok) throw new Error(detail);

const source = new EventSource(${asked.hasKey ? "await addressOf(id)" : ADDRESS.open});
for (const name of ["start", "restart"]) source.addEventListener(name, () => (answer.textContent = ""));
for (const name of ["message", "refusal"]) {
  source.addEventListener(name, (event) => answer.append(JSON.parse(event.data).text));
}${tools}
source.addEventListener("done", (event) => {
  source.close();
  const { status, error } = JSON.parse(event.data);
  if (status !== "completed") answer.append(\`\\n[\${error ? error.message : status}]\`);
});
addEventListener("pagehide", () => source.close()); // otherwise the browser may keep the page, and its stream
`;
}

/** @param {Asked} asked */
export function react(asked) {
  const tools = asked.order.tools ? `
      source.addEventListener("tool", (event) => {
        const call = JSON.parse(event.data);
        if (call.type === "tool_call") text += \`\${call.name}(\${call.arguments})\\n\`;
      });` : "";
  const [follow, address] = asked.hasKey
    ? [`async () => {
      const mine = ++attempt;
      const address = await addressOf(id);
      if (mine !== attempt) return; // closed meanwhile`, "address"]
    : ["() => {", ADDRESS.open];
  return `\
// Ask.jsx, for React 18 and later: createRoot(element).render(<Ask />)
import { useEffect, useState } from "react";

${constants(asked)}
${asked.hasKey ? ADDRESS.ticket : ""}async function create() {
  const response = await fetch(\`\${service}/v1/generations\`, {
    method: "POST",
    headers,
    body: JSON.stringify(order),
  });
  const { id, detail } = await response.json();
  if (!response.ok) throw new Error(detail);
  return id;
}

const stop = (id) => fetch(\`\${service}/v1/generations/\${id}/stop\`, { method: "POST", headers });

function useAnswer(id) {
  const [answer, setAnswer] = useState({ text: "", status: "running" });

  useEffect(() => {
    let source, text = "", frame = 0, isOver = false${asked.hasKey ? ", attempt = 0" : ""};
    const close = () => {${asked.hasKey ? "\n      attempt++;" : ""}
      source?.close();
      cancelAnimationFrame(frame);
      frame = 0;
    };
    const end = (status, problem) => {
      isOver = true;
      close();
      setAnswer({ text, status, problem });
    };
    const follow = ${follow}
      source = new EventSource(${address});
      for (const name of ["start", "restart"]) source.addEventListener(name, () => (text = ""));
      for (const name of ["message", "refusal"]) {
        source.addEventListener(name, (event) => {
          text += JSON.parse(event.data).text;
          frame ||= requestAnimationFrame(() => { // words come faster than frames
            frame = 0;
            setAnswer({ text, status: "running" });
          });
        });
      }${tools}
      source.addEventListener("done", (event) => {
        const { status, error } = JSON.parse(event.data);
        end(status, error?.message);
      });
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) end("failed", "This answer is no longer available.");
      };
    };
    const comeBack = (event) => event.persisted && !isOver && follow();
    follow();
    addEventListener("pagehide", close); // otherwise the browser may keep the page, and its stream
    addEventListener("pageshow", comeBack);
    return () => {
      removeEventListener("pagehide", close);
      removeEventListener("pageshow", comeBack);
      close();
    };
  }, [id]);

  return answer;
}

function Answer({ id }) {
  const { text, status, problem } = useAnswer(id);
  return (
    <article aria-busy={status === "running"}>
      <p style={{ whiteSpace: "pre-wrap" }}>{text}</p>
      {status === "running" && <button onClick={() => stop(id)}>Stop</button>}
      {status !== "running" && status !== "completed" && <p role="status">{problem ?? status}</p>}
    </article>
  );
}

export default function Ask() {
  const [id, setId] = useState(null);
  const [problem, setProblem] = useState(null);

  function ask() { // in an event handler: an effect may run twice, and would ask twice
    setProblem(null);
    create().then(setId, (error) => setProblem(error.message));
  }

  return (
    <>
      <button onClick={ask}>Ask</button>
      {problem && <p role="alert">{problem}</p>}
      {id && <Answer key={id} id={id} />}
    </>
  );
}
`;
}
