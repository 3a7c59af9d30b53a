// The page: finds its parts and connects them.

import { onKeyNeeded, request } from "./access.js";
import { Conversation, sentenceOf } from "./conversation.js";
import { Drawer } from "./drawer.js";
import { Images, imagesIn } from "./images.js";
import { KeyDialog } from "./key-dialog.js";
import { Lab } from "./lab.js";
import { Lesson } from "./lesson.js";
import { Options } from "./options.js";
import { Pulse } from "./pulse.js";
import { showViews } from "./views.js";

const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const [composer, prompt, provider, image] = ["composer", "prompt", "provider", "image"].map(part);
const [send, stop, cut, second, leave, again] = ["send", "stop", "cut", "second", "leave", "again"].map(part);

showViews(part("views"), ["chat", "compare", "code"].map(part));
const history = new Drawer(part("history"), part("history-toggle"));
const settings = new Drawer(part("settings"), part("settings-toggle"));
const labDrawer = new Drawer(part("lab-drawer"), part("lab-toggle"));
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
const conversation = new Conversation(
  part("conversation"), part("turns"), part("announcer"), pulse, refresh, (seq) => lab.back(seq),
);
const options = new Options(part);
const images = new Images(part("images"), complain);
const demo = document.documentElement.dataset.demo === undefined ? null : await openDemo();
const keyDialog = new KeyDialog(part("key-dialog"), () => {
  part("key-row").hidden = false;
  showProviders();
});
onKeyNeeded((reason) => keyDialog.ask(reason));
const lesson = new Lesson(part("waits"), part("streams"), part("verdict"));

async function openDemo() {
  const { Demo } = await import("./demo.js");
  const hidden = ["producer-row", "kill", "kill-says"].map(part);
  labDrawer.open(false);
  const opened = new Demo(
    { hidden, kill: part("kill"), producer: part("producer") },
    (text) => lab.say(text),
    (label) => conversation.mark(label),
  );
  conversation.onEvent = (event, eventId) => opened.event(event, eventId);
  return opened;
}

/** Let the buttons be those that make sense now. */
function refresh() {
  const { isBusy, run } = conversation;
  const focused = /** @type {any} */ (document.activeElement);
  lab.take(run);
  demo?.take(run, isBusy);
  showCall(run?.viewer.state ?? (isBusy ? "asked for" : "none"));
  send.disabled = send.hidden = isBusy;
  stop.disabled = stop.hidden = !isBusy;
  if (isBusy) part("announcer").className = ""; // a complaint about the last question
  cut.disabled = second.disabled = leave.disabled = !(isBusy && run);
  again.disabled = !run || isBusy;
  if (focused?.disabled) (focused === leave ? again : prompt).focus(); // otherwise the keyboard focus is lost
}

/** @param {import("./viewer.js").State | "asked for" | "none"} state as far as this page knows */
function showCall(state) {
  if (state === "closed") return; // the lab watches it from outside
  if (state === "open" || state === "connecting") lab.call("open", "open");
  else if (state === "done") lab.call("closed", "done");
  else lab.call(state === "none" || state === "asked for" ? state : "not known while the connection is lost", "idle");
}

/** @param {unknown} problem */
function complain(problem) {
  part("announcer").className = "problem";
  part("announcer").textContent = sentenceOf(problem);
}

/** @param {string} text */
async function ask(text) {
  if (conversation.isBusy || !text.trim()) return;
  const taken = images.take();
  try {
    if (await conversation.ask(text, taken, options.read())) return;
  } catch (problem) {
    settings.open(false);
    complain(problem);
  }
  images.putBack(taken);
  prompt.value ||= text;
}

function askPrompt() {
  const text = prompt.value;
  if (conversation.isBusy || !text.trim()) return;
  prompt.value = "";
  ask(text);
}

function stopAnswer() {
  lab.spare(); // so that a connection is free for it
  conversation.stop();
}

composer.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  askPrompt();
});
prompt.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  askPrompt();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  const open = [settings, labDrawer, history].filter((drawer) => drawer.isOpen);
  const focused = open.find((drawer) => drawer.hasFocus);
  if (focused) focused.close();
  else if (conversation.isBusy) stopAnswer();
  else open[0]?.close();
});
for (const preset of document.querySelectorAll("[data-prompt]")) {
  const { prompt: text = "", ...example } = /** @type {HTMLElement} */ (preset).dataset;
  preset.addEventListener("click", () => {
    if (conversation.isBusy) return;
    options.choose(example);
    ask(text);
  });
}
part("add-image").addEventListener("click", () => image.click());
image.addEventListener("change", async () => {
  await images.add(image.files);
  image.value = ""; // the same file may be chosen again
});
prompt.addEventListener("paste", (/** @type {ClipboardEvent} */ event) => {
  const pasted = imagesIn(event.clipboardData);
  if (pasted.length) event.preventDefault();
  images.add(pasted);
});
composer.addEventListener("dragover", (/** @type {DragEvent} */ event) => event.preventDefault());
composer.addEventListener("drop", (/** @type {DragEvent} */ event) => {
  if (!event.dataTransfer?.files.length) return; // text goes where it is dropped
  event.preventDefault();
  images.add(event.dataTransfer.files);
});
stop.addEventListener("click", (/** @type {MouseEvent} */ event) => {
  if (event.detail < 2) stopAnswer(); // the second click of a double click on Send is not meant for Stop
});
part("skip").addEventListener("click", (/** @type {MouseEvent} */ event) => {
  event.preventDefault();
  prompt.focus();
});
new ResizeObserver(([{ target }]) => {
  const below = innerHeight - target.getBoundingClientRect().top;
  document.documentElement.style.setProperty("--foot", `${Math.max(0, Math.round(below))}px`);
}).observe(composer);
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
  if (part("go").textContent === "Stop both") return void lesson.stop();
  part("go").textContent = "Stop both";
  await lesson.run(part("race-prompt").value, provider.value || undefined);
  part("go").textContent = "Start both";
});

part("change-key").addEventListener("click", () => keyDialog.ask(""));

/** Let the provider be chosen among those that the service offers, which may depend on the key. */
async function showProviders() {
  try {
    const configured = await request("v1/providers");
    const chosen = provider.value || configured.default;
    const shown = configured.providers.map((/** @type {any} */ { name, kind, model, ready, lacks }) => {
      const label = ready ? `${name} (${model})` : `${name} (${lacks === "sdk" ? `needs streamsvc[${kind}]` : "no key set"})`;
      const option = new Option(label, name, false, name === chosen);
      option.disabled = !ready;
      return option;
    });
    provider.replaceChildren(...shown);
  } catch (problem) {
    complain(problem);
  }
}

refresh(); // some browsers restore the state of buttons after a reload
const followed = /^gen_[a-z2-7]{32}$/.exec(new URLSearchParams(location.search).get("follow") ?? "");
if (followed) conversation.follow(followed[0]);
await showProviders();
