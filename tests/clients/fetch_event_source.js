// Follows one POST with `follow.js` of docs/guides/fetch.md, as a page would, and prints what it has received.
// Usage: node … FOLLOW URL BODY

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

const [path, url, body] = process.argv.slice(2);
const { follow } = await import(path);
let text = "";
let done = null;
let refused = null;

const receive = (event) => {
  if (event.type === "start") text = "";
  if (event.type === "text") text += event.text;
  if (event.type === "done") done = event.status;
};
await follow(url, JSON.parse(body), receive).catch((error) => (refused = error.message));
console.log(JSON.stringify({ text, done, refused }));
