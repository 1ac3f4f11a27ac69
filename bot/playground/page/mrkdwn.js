// Convert Slack's mrkdwn and rich_text to DOM nodes.

import { h } from "./dom.js";
import { EMOJI } from "./emoji.js";
import { formatted, person, state } from "./state.js";

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">" };
export const plain = (text) => text.replace(/&(amp|lt|gt);/g, (entity) => ENTITIES[entity]);

export const withEmoji = (text) =>
  text.replace(/:([a-z0-9_+-]+)(?:::skin-tone-\d)?:/g, (all, name) => EMOJI.get(name) || all);

export function mrkdwn(text) {
  const nodes = [];
  const parts = text.split(/```\n?([\s\S]*?)```/);
  parts.forEach((part, number) => {
    if (number % 2) nodes.push(h("pre", { class: "code-block" }, plain(part.replace(/\n$/, ""))));
    else if (part) nodes.push(...lines(number ? part.replace(/^\n/, "") : part));
  });
  return nodes;
}

function lines(text) {
  const nodes = [];
  let quoted = [];
  const closeQuote = () => {
    if (quoted.length) nodes.push(h("blockquote", {}, joined(quoted)));
    quoted = [];
  };
  const rows = [];
  const closeRows = () => {
    if (rows.length) nodes.push(...joined(rows.splice(0)));
  };
  for (const line of text.split("\n")) {
    const quote = line.match(/^(?:&gt;|>)\s?(.*)$/);
    if (quote) {
      closeRows();
      quoted.push(quote[1]);
    } else {
      closeQuote();
      rows.push(line);
    }
  }
  closeRows();
  closeQuote();
  return nodes;
}

const joined = (rows) => rows.flatMap((row, number) => [number ? h("br") : null, ...inline(row)]);

// One pass over a line: the earliest of a code span, a control sequence, or a styled span.
const SPAN = /`([^`\n]+)`|<([^<>\n]+)>|(^|[\s\p{P}\p{S}])([*_~])(?=\S)((?:(?!\4).)*?\S)\4(?=$|[\s\p{P}\p{S}])/u;
const STYLES = { "*": "b", _: "i", "~": "s" };

function inline(text) {
  const nodes = [];
  let rest = text;
  for (let match = rest.match(SPAN); match; match = rest.match(SPAN)) {
    const before = match.index + (match[3]?.length || 0);
    if (before) nodes.push(leaf(rest.slice(0, before)));
    if (match[1] !== undefined) nodes.push(h("code", {}, plain(match[1])));
    else if (match[2] !== undefined) nodes.push(control(match[2]));
    else nodes.push(h(STYLES[match[4]], {}, inline(match[5])));
    rest = rest.slice(match.index + match[0].length);
  }
  if (rest) nodes.push(leaf(rest));
  return nodes;
}

const leaf = (text) => document.createTextNode(withEmoji(plain(text)));

function control(inside) {
  const [target, label] = inside.split(/\|(.*)/s);
  if (target.startsWith("@")) return mention(target.slice(1));
  if (target.startsWith("#")) return channelLink(target.slice(1), label);
  if (target.startsWith("!date^")) return date(target, label);
  if (target.startsWith("!")) return h("span", { class: "mention me" }, `@${target.slice(1).split("^")[0]}`);
  return link(plain(target), label ? plain(label) : undefined);
}

export function mention(id) {
  return h("span", { class: id === state.me?.id ? "mention me" : "mention" }, `@${person(id).name}`);
}

export function channelLink(id, label) {
  const found = state.channels.find((one) => one.id === id);
  return h("a", { class: "mention", href: `#/${state.me?.handle}/${found?.name || id}` }, `#${found?.name || label || id}`);
}

export function link(url, label) {
  const safe = /^(https?:|mailto:|\/playground\/)/.test(url);
  if (!safe) return document.createTextNode(label || url);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, label || url.replace(/^mailto:/, ""));
}

const DATES = {
  "{date_num}": { year: "numeric", month: "2-digit", day: "2-digit" },
  "{date}": { month: "long", day: "numeric", year: "numeric" },
  "{date_short}": { month: "short", day: "numeric", year: "numeric" },
  "{date_long}": { weekday: "long", month: "long", day: "numeric", year: "numeric" },
  "{date_pretty}": { month: "long", day: "numeric" },
  "{date_short_pretty}": { month: "short", day: "numeric" },
  "{date_long_pretty}": { weekday: "long", month: "long", day: "numeric" },
  "{time}": { hour: "numeric", minute: "2-digit" },
  "{time_secs}": { hour: "numeric", minute: "2-digit", second: "2-digit" },
};

function date(target, fallback) {
  const [, stamp, pattern, url] = target.split("^");
  const at = Number(stamp) * 1000;
  if (!Number.isFinite(at) || !pattern) return document.createTextNode(fallback || "");
  const text = pattern.replace(/\{\w+\}/g, (token) => (DATES[token] ? formatted(at, DATES[token]) : token));
  const shown = h("time", { datetime: new Date(at).toISOString(), title: fallback && plain(fallback) }, text);
  return url ? h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, shown) : shown;
}

// A text object of Block Kit.
export function textObject(text) {
  if (!text) return [];
  return text.type === "mrkdwn" ? mrkdwn(text.text) : plainLines(text.text);
}

export const plainLines = (text) =>
  text.split("\n").flatMap((row, number) => [number ? h("br") : null, withEmoji(row)]);

// ---------------------------------------------------------------- rich_text

export function richText(block) {
  return block.elements.map((element) => {
    if (element.type === "rich_text_list") {
      const items = element.elements.map((item) => h("li", {}, richInline(item.elements)));
      return h(element.style === "ordered" ? "ol" : "ul", { class: `rich-list indent-${element.indent || 0}` }, items);
    }
    const inner = richInline(element.elements);
    if (element.type === "rich_text_quote") return h("blockquote", {}, inner);
    if (element.type === "rich_text_preformatted") return h("pre", { class: "code-block" }, inner);
    return h("div", { class: "rich-section" }, inner);
  });
}

function richInline(elements) {
  return elements.map((element) => {
    switch (element.type) {
      case "text":
        return styled(plainLines(element.text), element.style);
      case "link":
        return styled([link(element.url, element.text)], element.style);
      case "emoji":
        return element.unicode ? fromCodes(element.unicode) : withEmoji(`:${element.name}:`);
      case "user":
        return mention(element.user_id);
      case "channel":
        return channelLink(element.channel_id);
      case "broadcast":
        return h("span", { class: "mention me" }, `@${element.range}`);
      case "date":
        return date(`!date^${element.timestamp}^${element.format}`, element.fallback);
      default:
        return null;
    }
  });
}

const fromCodes = (codes) => String.fromCodePoint(...codes.split("-").map((code) => parseInt(code, 16)));

function styled(nodes, style = {}) {
  let wrapped = nodes;
  for (const [name, tag] of [["code", "code"], ["bold", "b"], ["italic", "i"], ["strike", "s"]]) {
    if (style[name]) wrapped = [h(tag, {}, wrapped)];
  }
  return wrapped;
}
