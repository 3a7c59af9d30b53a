// Prints, as JSON, the lines of standard input that are not chunks of a UI message stream.
// Usage: node … ai6|ai7

import { createInterface } from "node:readline";

const { uiMessageChunkSchema } = await import(process.argv[2]);
const schema = uiMessageChunkSchema();
const refused = [];
for await (const line of createInterface({ input: process.stdin })) {
  const { success } = await schema.validate(JSON.parse(line));
  if (!success) refused.push(line);
}
console.log(JSON.stringify(refused));
