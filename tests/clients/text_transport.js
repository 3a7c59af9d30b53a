// Asks with `transport.js` of docs/guides/plain-text.md as it stands, and prints the text that the hook would show.
// In Node.js an address needs a host, so `fetch` puts the one of the dev server before it. Usage: node … TRANSPORT ORIGIN

const [path, origin] = process.argv.slice(2);
const fetched = globalThis.fetch;
globalThis.fetch = (address, options) => fetched(new URL(address, origin), options);
const { transport } = await import(path);
const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: "hello" }] }];
const stream = await transport.sendMessages({ trigger: "submit-message", chatId: "c1", messages });
let text = "";
for await (const chunk of stream) if (chunk.type === "text-delta") text += chunk.delta;
console.log(JSON.stringify(text));
