// The page: finds its parts and connects them.

import { onKeyNeeded } from "./access.js";
import { followed } from "./address.js";
import { ready } from "./answer.js";
import { Composer } from "./composer.js";
import { addCode } from "./code-panel.js";
import { ConversationList } from "./conversation-list.js";
import { Conversation } from "./conversation.js";
import { Drawer } from "./drawer.js";
import { Images } from "./images.js";
import { KeptSettings } from "./kept-settings.js";
import { KeyDialog } from "./key-dialog.js";
import { Lab } from "./lab.js";
import { Lesson } from "./lesson.js";
import { Options } from "./options.js";
import { Providers } from "./providers.js";
import { Pulse } from "./pulse.js";
import { Race } from "./race.js";
import { KEEPING, sentenceOf } from "./sentences.js";
import { Shelf } from "./shelf.js";
import { Transcript } from "./transcript.js";
import { showViews } from "./views.js";

const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const [form, prompt, provider, image] = ["composer", "prompt", "provider", "image"].map(part);
const [send, stop, cut, second, leave, again] = ["send", "stop", "cut", "second", "leave", "again"].map(part);
const MAX_WAIT_MS = 1000;
const wide = matchMedia("(min-width: 64rem)");

showViews(part("views"), ["chat", "compare"].map(part));
const [historyDrawer, settings, labDrawer] = [["history", "history"], ["settings", "settings"], ["lab-drawer", "lab"]].map(
  ([panel, name]) => new Drawer(part(panel), part(`${name}-toggle`)),
);
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
const options = new Options(part);
const shelf = new Shelf();
const transcript = new Transcript(shelf);
const list = new ConversationList(part("conversations"), openConversation, deleteConversation);
const conversation = new Conversation({
  box: part("conversation"), turns: part("turns"), announcer: part("announcer"), pulse, transcript,
  onChange: refresh, onBack: (seq) => lab.back(seq), choices,
});
conversation.onTurn = addCode;
const images = new Images(part("images"), complain);
const composer = new Composer({ form, prompt, image, editing: part("editing") }, images, ask);
const providers = new Providers(provider, (faults) => options.offerFaults(faults));
const demo = document.documentElement.dataset.demo === undefined ? null : await openDemo();
const keyDialog = new KeyDialog(part("key-dialog"), () => {
  part("key-row").hidden = false;
  showProviders();
});
onKeyNeeded((reason) => keyDialog.ask(reason));
const lesson = new Lesson(part("waits"), part("streams"), part("verdict"));
const race = new Race(part("left"), part("right"), part("winner"));
const kept = new KeptSettings(showSettings);

async function showProviders() {
  try {
    await providers.load();
  } catch (problem) {
    return complain(problem); // the settings wait for what the service offers
  }
  race.offer(providers.options, (name) => providers.faultsOf(name));
  kept.add({ ...options.offered, ...race.fields });
}

/** @param {boolean} isKept */
function showSettings(isKept) {
  const differ = kept.differsIn(part("settings"));
  const toggle = part("settings-toggle");
  toggle.toggleAttribute("data-changed", differ);
  toggle.setAttribute("aria-label", differ ? "Settings (changed)" : "Settings");
  part("reset").hidden = !differ;
  part("settings-kept").textContent = isKept ? "this browser keeps them." : "a reload forgets them.";
}

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
  cut.disabled = second.disabled = leave.disabled = !(isBusy && run);
  again.disabled = !run || isBusy;
  if (isBusy) part("announcer").className = ""; // a complaint about the last question
  if (isBusy) composer.endEdit();
  if (historyDrawer.isOpen) showConversations();
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

/** The settings of the next question; null if one of them is not possible. */
function choices() {
  try {
    return options.read();
  } catch (problem) {
    settings.open(false);
    complain(problem);
    return null;
  }
}

/**
 * @param {string} text
 * @param {import("./images.js").Image[]} taken
 * @param {boolean} isEdited whether it takes the place of the last question
 */
async function ask(text, taken, isEdited) {
  const chosen = conversation.isBusy ? null : choices();
  if (!chosen) return false;
  if (isEdited) conversation.rewind();
  location.hash &&= "#chat";
  return conversation.ask(text, taken, chosen);
}

function stopAnswer() {
  lab.spare(); // so that a connection is free for it
  conversation.stop();
}

function showConversations() {
  list.show(shelf.list(), transcript.id);
  part("unkept").textContent = KEEPING[transcript.keeping];
}

/** @param {string} id */
function openConversation(id) {
  composer.cancel();
  if (id !== transcript.id) conversation.open(id);
  location.hash &&= "#chat";
  if (!wide.matches) historyDrawer.close();
}

/** @param {string} id */
function deleteConversation(id) {
  if (id === transcript.id) {
    if (conversation.isBusy) conversation.stop();
    conversation.clear();
  }
  shelf.delete(id);
  showConversations();
}

part("delete-all").addEventListener("click", () => {
  for (const { id } of shelf.list()) deleteConversation(id);
});
conversation.onEdit = (question) => composer.edit(question);
conversation.onAgain = () => composer.forget(transcript.lastQuestion);
composer.recall = () => transcript.lastQuestion;
historyDrawer.onChange = showConversations;
addEventListener("storage", () => historyDrawer.isOpen && showConversations()); // another tab has changed it
if (wide.matches && shelf.list().length) historyDrawer.open(false);

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  const open = [settings, labDrawer, historyDrawer].filter((drawer) => drawer.isOpen);
  const focused = open.find((drawer) => drawer.hasFocus);
  if (focused) focused.close();
  else if (conversation.isBusy) stopAnswer();
  else if (composer.isEditing) composer.cancel();
  else open[0]?.close();
});
for (const preset of document.querySelectorAll("[data-prompt]")) {
  const { prompt: text = "", ...example } = /** @type {HTMLElement} */ (preset).dataset;
  preset.addEventListener("click", () => {
    if (conversation.isBusy) return;
    options.choose(example);
    kept.keep();
    composer.ask(text);
  });
}
part("reset").addEventListener("click", () => {
  kept.reset(part("settings"));
  part("system").focus(); // the button is gone
});
part("add-image").addEventListener("click", () => image.click());
stop.addEventListener("click", (/** @type {MouseEvent} */ event) => {
  if (event.detail < 2) stopAnswer(); // the second click of a double click on Send is not meant for Stop
});
part("skip").addEventListener("click", (/** @type {MouseEvent} */ event) => {
  event.preventDefault();
  prompt.focus();
});
part("new").addEventListener("click", () => {
  composer.cancel();
  conversation.clear();
  location.hash &&= "#chat";
  prompt.focus();
});
cut.addEventListener("click", () => lab.cut());
second.addEventListener("click", () => lab.openSecond());
leave.addEventListener("click", () => lab.leave());
again.addEventListener("click", () => lab.comeBack());
const compared = () => new FormData(part("race")).get("compared");
part("race").addEventListener("change", () => {
  for (const id of ["providers", "waiting"]) part(id).hidden = id !== compared();
});
part("race").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const [run, choices] = [compared() === "waiting" ? lesson : race, part("race").elements.compared];
  if (part("go").textContent === "Stop both") return void run.stop();
  lab.spare(); // each side needs one of the browser's connections
  for (const choice of choices) choice.disabled = !choice.checked;
  part("go").textContent = "Stop both";
  await run.run(part("race-prompt").value, provider.value || undefined);
  part("go").textContent = "Start both";
  for (const choice of choices) choice.disabled = false;
});
part("change-key").addEventListener("click", () => keyDialog.ask(""));
new ResizeObserver(([{ target }]) => {
  const below = innerHeight - target.getBoundingClientRect().top;
  document.documentElement.style.setProperty("--foot", `${Math.max(0, Math.round(below))}px`);
}).observe(form);

kept.add({ ...options.fixed, waiting: part("compare-waiting") }); // when all that follows the fields listens
refresh(); // some browsers restore the state of buttons after a reload
const isShown = showProviders();
if (followed()) {
  // Otherwise it would show the source of its Markdown first. It must not wait longer than the grace, though.
  await Promise.race([ready, new Promise((resolve) => setTimeout(resolve, MAX_WAIT_MS))]);
  if (!conversation.isBusy && !transcript.id) conversation.follow(followed());
}
await isShown;
