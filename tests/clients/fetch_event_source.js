// Follows one POST with @microsoft/fetch-event-source, as a page would, and prints the events.
// The library sends the same POST again when the connection breaks. Usage: node … URL BODY

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const [url, body] = process.argv.slice(2);
let text = "";
let errors = 0;
let done = null;

await fetchEventSource(url, {
  method: "POST",
  headers: { Accept: "text/event-stream", "Content-Type": "application/json" },
  body,
  openWhenHidden: true,
  onmessage(event) {
    const payload = JSON.parse(event.data);
    if (payload.type === "start") text = "";
    if (payload.type === "text") text += payload.text;
    if (payload.type === "done") done = payload.status;
  },
  onerror() {
    errors += 1;
    return 100; // milliseconds until the next try
  },
});
console.log(JSON.stringify({ text, errors, done }));
