// The page: renders the workspace and its changes.

import { get, post } from "./api.js";
import { blocks } from "./blocks.js";
import { hearClock, startClock } from "./clock.js";
import { composer } from "./composer.js";
import { arrows, avatar, fill, focusKeeper, h, icon, toast } from "./dom.js";
import { load, parents, renderList, threadOf } from "./messages.js";
import { refreshView, showErrors, showView } from "./modal.js";
import { messageMenu } from "./shortcuts.js";
import { renderSidebar, renderWho, startWho } from "./sidebar.js";
import { channel, isReply, messagesOf, person, state } from "./state.js";

const at = (id) => document.getElementById(id);
let stream = null;
let box = null; // the composer
let threadBox = null;
let leaveThread = () => {}; // focuses the opener of the thread

// ---------------------------------------------------------------- location: #/person/channel

async function route() {
  const [, who = "analyst", where = "crm"] = decodeURIComponent(location.hash).split("/");
  const switched = state.me?.handle !== who;
  if (switched) await become(who);
  const wanted = state.channels.find((one) => (one.im ? "app" : one.name) === where) || state.channels[0];
  showMenu(false);
  if (wanted.id !== state.current || switched) await enter(wanted);
}

async function become(handle) {
  stream?.close();
  const about = await get("/workspace", { user: handle }).catch(() => get("/workspace", { user: "analyst" }));
  state.people = new Map(about.people.map((one) => [one.id, one]));
  Object.assign(state, { me: state.people.get(about.me), bot: about.bot, team: about.team.name, zone: about.timezone,
    channels: about.channels, commands: about.commands || [], shortcuts: about.shortcuts || [], messages: new Map(), thread: null, home: null, current: null });
  Object.assign(state, { shop: about.shop, mailbox: about.mailbox });
  fill(at("footer"), about.footer && h("details", { open: !isNarrow() }, h("summary", {}, "About this data"), h("p", {}, about.footer)));
  showView(null);
  hearClock(about.clock);
  showLoading(about.loading);
  renderWho();
  listen();
  await refreshView();
}

async function enter(wanted) {
  state.current = wanted.id;
  state.tab = "messages";
  closeThread();
  await reload();
  renderHead();
  render(true);
  box.refresh();
  if (matchMedia("(min-width: 700px)").matches) box.focus();
}

async function reload() {
  const id = state.current;
  const list = await load(id);
  state.messages.set(id, new Map(list.map((one) => [one.ts, one])));
}

// ---------------------------------------------------------------- the drawer of a phone

const isNarrow = () => matchMedia("(max-width: 760px)").matches;
const menuOpen = () => document.body.classList.contains("menu-open");

function showMenu(open) {
  document.body.classList.toggle("menu-open", open);
  at("menu").setAttribute("aria-expanded", String(open));
}

// ---------------------------------------------------------------- rendering

function renderHead() {
  const here = channel();
  const title = here.im
    ? [avatar(person(state.bot), 24), h("h1", {}, person(state.bot).name), h("span", { class: "app-badge" }, "APP")]
    : [h("h1", {}, here.private ? icon("lock") : h("span", { class: "hash" }, "#"), here.name), h("span", { class: "topic" }, here.topic)];
  const members = !here.im && h("span", { class: "members", title: `${here.members} members` }, icon("people"), String(here.members));
  const tab = (name, text) =>
    h("button", { class: `tab${state.tab === name ? " current" : ""}`, role: "tab", type: "button",
      "aria-selected": String(state.tab === name), onclick: () => openTab(name) }, text);
  fill(at("channel-head"), h("div", { class: "head-row" }, title, h("span", { class: "grow" }), members),
    here.im && h("div", { class: "tabs", role: "tablist", "aria-label": "App",
      onkeydown: (event) => arrows(event, [...event.currentTarget.children]) }, tab("home", "Home"), tab("messages", "Messages")));
}

async function openTab(name) {
  state.tab = name;
  const focused = document.activeElement?.matches("[role=tab]");
  renderHead();
  if (focused) document.querySelector("[role=tab][aria-selected=true]")?.focus();
  render(true);
  if (name === "home") {
    state.home = await get("/home", { user: state.me.id });
    render();
  }
}

function render(jump = false) {
  renderSidebar();
  const scroll = at("scroll");
  const bottom = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  const home = channel().im && state.tab === "home";
  at("composer").hidden = home;
  if (home) renderHome();
  else {
    if (at("messages").dataset.channel !== state.current) at("messages").replaceChildren();
    at("messages").dataset.channel = state.current;
    at("messages").querySelector(".home, .beginning")?.remove();
    renderList(at("messages"), parents(state.current), { onthread: openThread, onmore: messageMenu });
    if (!channel().im || parents(state.current).length === 0) at("messages").prepend(beginning());
  }
  renderThread();
  if (jump ? !home : bottom && !home) toBottom();
  if (jump && home) scroll.scrollTop = 0;
  markRead();
}

function toBottom() {
  const scroll = at("scroll");
  scroll.scrollTop = scroll.scrollHeight;
  for (const picture of scroll.querySelectorAll("img")) {
    if (!picture.complete) picture.addEventListener("load", () => (scroll.scrollTop = scroll.scrollHeight), { once: true });
  }
}

function beginning() {
  const here = channel();
  const text = here.im ? `This is where ${person(state.bot).name} writes to you, and to nobody else.` : here.topic;
  const title = here.im ? person(state.bot).name : `# ${here.name}`;
  return h("div", { class: "beginning" }, h("h2", {}, title), h("p", {}, text,
    !here.has_bot && [" The app is not in this channel; ", h("code", {}, "/invite @retention"), " adds it."]));
}

function renderHome() {
  const act = async (element, block, value) => {
    try {
      const answer = await post("/actions", { user: state.me.id, view_id: state.home.id, block_id: block.block_id, action_id: element.action_id, value });
      return answer.status === 200 ? null : "operation_timeout";
    } catch (error) {
      return error.message;
    }
  };
  const refocus = at("messages").contains(document.activeElement) && focusKeeper();
  fill(at("messages"), h("div", { class: "home", tabindex: "-1" }, state.home ? blocks(state.home.blocks, act) : h("p", { class: "muted" }, "One moment …")));
  if (refocus) refocus();
}

function markRead() {
  const list = parents(state.current);
  const here = channel();
  if (document.hidden || !list.length) return;
  const newest = list[list.length - 1].ts;
  if (here.unread || here.readTo !== newest) {
    here.unread = 0;
    here.readTo = newest;
    post(`/channels/${here.id}/read`, { user: state.me.id, ts: newest }).catch(() => {});
  }
}

// ---------------------------------------------------------------- threads

function openThread(ts) {
  state.thread = ts;
  leaveThread = focusKeeper();
  const form = h("form", { class: "composer", "aria-label": "Reply" });
  fill(at("thread"), h("header", { class: "thread-head" }, h("h2", {}, "Thread"), h("span", { class: "topic" }, channel().im ? "" : `# ${channel().name}`),
    h("span", { class: "grow" }), h("button", { class: "icon-button", type: "button", "aria-label": "Close thread", onclick: closeThread }, icon("close"))),
  h("div", { class: "scroll", tabindex: "0", "aria-label": "Thread messages" }, h("div", { class: "messages", role: "log", id: "thread-messages" })), form);
  threadBox = composer(form, { thread: () => state.thread, id: "thread-input", label: () => "Reply…" });
  at("thread").hidden = false;
  document.body.classList.add("thread-open");
  renderThread();
  const scroll = at("thread").querySelector(".scroll");
  scroll.scrollTop = scroll.scrollHeight;
  threadBox.focus();
}

function closeThread() {
  const inside = at("thread").contains(document.activeElement);
  state.thread = null;
  at("thread").hidden = true;
  document.body.classList.remove("thread-open");
  if (inside) leaveThread();
}

function renderThread() {
  if (!state.thread) return;
  const scroll = at("thread").querySelector(".scroll");
  const bottom = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  renderList(at("thread-messages"), threadOf(state.current, state.thread), { inThread: true, onmore: messageMenu });
  if (bottom) scroll.scrollTop = scroll.scrollHeight;
}

// ---------------------------------------------------------------- live updates

function listen() {
  stream = new EventSource(`/playground/stream?user=${state.me.id}`);
  let first = true;
  stream.onmessage = (event) => {
    const told = JSON.parse(event.data);
    if (told.type === "hello" && !first) resync();
    if (told.type === "hello") first = false;
    else HEAR[told.type]?.(told);
  };
}

// Show the step of the data's loading above the messages.
function showLoading(text) {
  at("loading").hidden = !text;
  fill(at("loading"), text || "");
}

async function resync() {
  const about = await get("/workspace", { user: state.me.id });
  state.channels = about.channels;
  hearClock(about.clock);
  showLoading(about.loading);
  await reload();
  await refreshView();
  renderHead();
  render();
}

const HEAR = {
  message({ message }) {
    const known = messagesOf(message.channel).has(message.ts);
    messagesOf(message.channel).set(message.ts, message);
    if (message.channel === state.current && !document.hidden) return later();
    const place = channel(message.channel);
    if (!known && place && message.user !== state.me.id && !isReply(message)) place.unread += 1;
    later();
  },
  deleted(told) {
    messagesOf(told.channel).delete(told.ts);
    later();
  },
  view: ({ view }) => showView(view),
  view_errors: ({ errors }) => showErrors(errors),
  home({ view }) {
    state.home = view;
    if (channel().im && state.tab === "home") render();
  },
  clock: hearClock,
  loading: ({ text }) => (text ? showLoading(text) : resync()),
  channels: resync,
  resync,
};

let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (state.current) render();
  });
}

// ---------------------------------------------------------------- start

box = composer(at("composer"), { label: () => (channel()?.im ? `Message ${person(state.bot).name}` : `Message #${channel()?.name || ""}`) });
at("composer").addEventListener("submit", toBottom); // whoever writes wants to see the answer
startWho();
startClock();
at("menu").addEventListener("click", () => showMenu(!menuOpen()));
at("sidebar").addEventListener("click", (event) => event.target.closest("a") && showMenu(false));
document.addEventListener("pointerdown", (event) => menuOpen() && !event.target.closest("#sidebar, #menu") && showMenu(false));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (menuOpen()) {
    showMenu(false);
    at("menu").focus();
  } else if (state.thread) closeThread();
});
document.addEventListener("visibilitychange", () => !document.hidden && state.current && later());
addEventListener("hashchange", () => route().catch((error) => toast(error.message)));
route().catch((error) => toast(error.message));

