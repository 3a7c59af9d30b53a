// The page: finds its parts and connects them.

import { Conversation, sentenceOf } from "./conversation.js";
import { request } from "./generation.js";
import { Lab } from "./lab.js";
import { Lesson } from "./lesson.js";
import { Pulse } from "./pulse.js";

const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const [composer, prompt, provider, grace] = ["composer", "prompt", "provider", "grace"].map(part);
const [send, stop, cut, second, leave, again] = ["send", "stop", "cut", "second", "leave", "again"].map(part);

const pulse = new Pulse(
  {
    state: part("state"), first: part("first"), rate: part("rate"), events: part("events"),
    cursor: part("cursor"), gaps: part("gaps"),
  },
  part("chart"),
);
const lab = new Lab({
  says: part("lab"), call: part("call"), other: part("other"), otherState: part("other-state"),
  otherTab: part("other-tab"), otherAnswer: part("other-answer"), raw: part("raw"), frames: part("frames"),
});
const conversation = new Conversation(part("conversation"), part("announcer"), pulse, refresh);
const lesson = new Lesson(part("waits"), part("streams"), part("verdict"));

/** Let the buttons be those that make sense now. */
function refresh() {
  const { isBusy, run } = conversation;
  lab.take(run);
  if (isBusy) lab.call(run ? "open" : "asked for", "open");
  else if (run?.viewer.isDone) lab.call("closed", "done");
  send.disabled = isBusy;
  stop.disabled = !isBusy;
  cut.disabled = second.disabled = leave.disabled = !(isBusy && run);
  again.disabled = !run || isBusy;
}

async function ask() {
  const text = prompt.value;
  if (conversation.isBusy || !text.trim()) return;
  prompt.value = "";
  const choices = { provider: provider.value || undefined, grace_seconds: Number(grace.value) };
  if (!(await conversation.ask(text, choices))) prompt.value ||= text;
}

composer.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  ask();
});
prompt.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && conversation.isBusy) conversation.stop();
});
for (const preset of document.querySelectorAll("[data-prompt]")) {
  preset.addEventListener("click", () => {
    prompt.value = preset.getAttribute("data-prompt");
    prompt.focus();
  });
}
stop.addEventListener("click", () => conversation.stop());
part("new").addEventListener("click", () => {
  conversation.clear();
  prompt.focus();
});
cut.addEventListener("click", () => lab.cut());
second.addEventListener("click", () => lab.openSecond());
leave.addEventListener("click", () => lab.leave());
again.addEventListener("click", () => lab.comeBack());
part("race").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  part("go").disabled = true;
  await lesson.run(part("race-prompt").value, provider.value);
  part("go").disabled = false;
});

try {
  const configured = await request("v1/providers");
  for (const { name, model, ready } of configured.providers) {
    const label = ready ? `${name} (${model})` : `${name} (no key set)`;
    const option = new Option(label, name, false, name === configured.default);
    option.disabled = !ready;
    provider.append(option);
  }
} catch (problem) {
  part("announcer").textContent = sentenceOf(problem);
}
const followed = new URLSearchParams(location.search).get("follow");
if (followed) conversation.follow(followed);
