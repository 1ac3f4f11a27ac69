// Messages as rows: grouped by author and time, divided by day, each updated in place.

import { get, post } from "./api.js";
import { blocks } from "./blocks.js";
import { lightbox } from "./dialogs.js";
import { avatar, fill, focusKeeper, h, icon } from "./dom.js";
import { mrkdwn } from "./mrkdwn.js";
import { clockTime, dayKey, dayName, fullTime, isReply, ordered, person, state } from "./state.js";

const TOGETHER = 5 * 60 * 1000;

// Update a list's rows, touching only changed messages.
export function renderList(place, list, { inThread = false, onthread, onmore } = {}) {
  const wanted = [];
  let before = null;
  list.forEach((message, number) => {
    const newDay = !inThread && (!before || dayKey(before.shown_at) !== dayKey(message.shown_at));
    if (newDay) wanted.push({ key: `day-${dayKey(message.shown_at)}-${message.ts}`, make: () => divider(message) });
    const follows = !newDay && before && before.user === message.user && !before.ephemeral && !message.ephemeral &&
      !(inThread && number === 1) && new Date(message.shown_at) - new Date(before.shown_at) < TOGETHER && !before.reply_count;
    const key = `m-${message.ts}-${hash([message.text, message.blocks, message.edited, message.files, message.reply_count, follows])}`;
    wanted.push({ key, make: () => row(message, { follows, inThread, onthread, onmore }) });
    before = message;
  });
  arrange(place, wanted);
}

function hash(thing) {
  let sum = 0;
  for (const character of JSON.stringify(thing)) sum = (sum * 31 + character.codePointAt(0)) | 0;
  return sum;
}

function arrange(place, wanted) {
  const have = new Map([...place.children].map((node) => [node.dataset.key, node]));
  const keys = new Set(wanted.map((one) => one.key));
  const focused = document.activeElement;
  const refocus = place.contains(focused) && focusKeeper();
  for (const [key, node] of have) if (!keys.has(key)) node.remove();
  let cursor = place.firstElementChild;
  for (const { key, make } of wanted) {
    let node = have.get(key);
    if (node && node === cursor) {
      cursor = cursor.nextElementSibling;
      continue;
    }
    if (!node) {
      node = make();
      node.dataset.key = key;
    }
    place.insertBefore(node, cursor);
  }
  if (refocus && !document.contains(focused)) refocus();
}

const divider = (message) =>
  h("div", { class: "day", role: "separator" }, h("span", {}, dayName(message.shown_at)));

function row(message, { follows, inThread, onthread, onmore }) {
  const author = person(message.user);
  const time = h("time", { datetime: message.shown_at, title: fullTime(message.shown_at) }, clockTime(message.shown_at));
  const name = h("div", { class: "who-line" }, [
    h("span", { class: "author" }, author.name),
    author.is_bot && author.id !== "USLACKBOT" && h("span", { class: "app-badge" }, "APP"),
    time,
  ]);
  return h("article", {
    ontouchstart: startPress, ontouchmove: stopPress, ontouchend: stopPress, ontouchcancel: stopPress,
    class: `message${follows ? " follows" : ""}${message.ephemeral ? " ephemeral" : ""}`, data: { ts: message.ts },
    "aria-label": `${author.name}, ${clockTime(message.shown_at)}`, tabindex: "-1",
  }, [
    h("div", { class: "gutter" }, follows ? h("span", { class: "mini-time" }, clockTime(message.shown_at).replace(/ [AP]M/, "")) : avatar(author)),
    h("div", { class: "body" }, [
      message.ephemeral && h("div", { class: "only-you" }, icon("eye"), "Only visible to you"),
      !follows && name,
      content(message),
      message.files.length > 0 && h("div", { class: "files" }, message.files.map(file)),
      !inThread && message.reply_count > 0 && replies(message, onthread),
    ]),
    !message.ephemeral && h("div", { class: "hover-bar" }, [
      !inThread && h("button", { class: "icon-button", type: "button", title: "Reply in thread", "aria-label": "Reply in thread",
        onclick: () => onthread(message.ts) }, icon("thread")),
      h("button", { class: "icon-button", type: "button", title: "Message actions", "aria-label": "Message actions", "aria-haspopup": "menu",
        onclick: (event) => onmore(event.currentTarget, message) }, icon("dots")),
    ]),
  ]);
}

// A long press shows the toolbar of a message on a phone; the next touch elsewhere hides it.
const LONG_PRESS = 500;
let pressing = 0;

function startPress(event) {
  const message = event.currentTarget;
  stopPress();
  for (const other of document.querySelectorAll(".message.pressed")) if (other !== message) other.classList.remove("pressed");
  pressing = setTimeout(() => message.classList.add("pressed"), LONG_PRESS);
}

function stopPress() {
  clearTimeout(pressing);
}

function content(message) {
  const edited = message.edited && h("span", { class: "edited" }, " (edited)");
  if (message.blocks.length) return h("div", { class: "blocks" }, blocks(message.blocks, press(message)), edited);
  return message.text && h("div", { class: "text" }, mrkdwn(message.text), edited);
}

const press = (message) => async (element, block, value) => {
  try {
    const form = { user: state.me.id, channel: message.channel, ts: message.ts, block_id: block.block_id,
      action_id: element.action_id, value };
    const answer = await post("/actions", form);
    return answer.status === 200 ? null : answer.status === 504 ? "operation_timeout" : "dispatch_failed";
  } catch (error) {
    return error.message;
  }
};

function replies(message, onthread) {
  const authors = (message.reply_users || []).slice(0, 4).map((id) => avatar(person(id), 24));
  const word = message.reply_count === 1 ? "reply" : "replies";
  return h("button", { class: "replies", type: "button", onclick: () => onthread(message.ts) }, [
    authors, h("span", { class: "reply-count" }, `${message.reply_count} ${word}`),
    h("span", { class: "reply-more" }, "View thread"),
  ]);
}

// ---------------------------------------------------------------- files

function file(one) {
  const source = `/playground/files/${one.id}`;
  if (one.mimetype.startsWith("image/")) {
    const picture = h("img", { class: "block-picture", src: source, alt: one.alt_txt || one.title });
    return h("button", { class: "picture-button", type: "button", "aria-label": `Open ${one.title}`,
      onclick: () => lightbox(source, one.alt_txt || one.title) }, picture);
  }
  const preview = h("div", { class: "file-preview" });
  if (/\.csv$/.test(one.name)) csvPreview(source, preview);
  return h("div", { class: "file" }, [
    h("div", { class: "file-head" }, [
      h("span", { class: "file-icon" }, icon("file")),
      h("div", {}, h("div", { class: "file-name" }, one.title), h("div", { class: "file-type" }, `${kind(one)} · ${size(one.size)}`)),
      h("a", { class: "icon-button", href: `${source}?download`, download: one.name, title: `Download ${one.name}`,
        "aria-label": `Download ${one.name}` }, icon("download")),
    ]),
    preview,
  ]);
}

const kind = (one) => one.name.split(".").pop().toUpperCase();
const size = (bytes) => (bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function csvPreview(source, place) {
  try {
    const text = (await (await fetch(source)).text()).replace(/^\ufeff/, "");
    const rows = text.match(/(?:"(?:[^"]|"")*"|[^"\r\n])+/g) ?? []; // a quoted cell may have several lines
    const cells = rows.slice(0, 6).map((row) => [...row.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)].map((match) => match[1].replace(/^"|"$/g, "").replaceAll('""', '"')).slice(0, 8));
    const [head, ...body] = cells;
    fill(place, h("table", {}, h("thead", {}, h("tr", {}, head.map((one) => h("th", {}, one)))),
      h("tbody", {}, body.map((line) => h("tr", {}, line.map((one) => h("td", {}, one)))))),
    rows.length > 6 && h("div", { class: "file-type" }, `${(rows.length - 1).toLocaleString("en-US")} rows`));
  } catch {
    place.remove();
  }
}

export const parents = (channelId) => ordered(channelId).filter((one) => !isReply(one) || one.subtype === "thread_broadcast" || one.ephemeral);
export const threadOf = (channelId, ts) => ordered(channelId).filter((one) => one.ts === ts || one.thread_ts === ts);
export const load = (channelId) => get(`/channels/${encodeURIComponent(channelId)}/messages`, { user: state.me.id });
