// Input controls, native if possible, and their values as Slack's state.

import { h } from "./dom.js";
import { plain, textObject, withEmoji } from "./mrkdwn.js";
import { state } from "./state.js";

export const optionsOf = (element) => [
  ...(element.options || []),
  ...(element.option_groups || []).flatMap((group) => group.options),
];

const label = (text) => withEmoji(text?.type === "mrkdwn" ? plain(text.text) : text?.text || "");

// One control; `control.read()` returns its part of view.state.values.
export function control(element, { id, onchange, describedBy, compact } = {}) {
  const make = MAKE[element.type] || MAKE.plain_text_input;
  const node = make(element, { id, onchange, compact });
  node.dataset.actionId = element.action_id;
  node.dataset.input = element.type;
  if (describedBy) (node.matches("input,select,textarea") ? node : node.querySelector("input,select"))?.setAttribute("aria-describedby", describedBy);
  return node;
}

function select(element, { id, onchange, compact }) {
  const groups = element.option_groups
    ? element.option_groups.map((group) => h("optgroup", { label: label(group.label) }, group.options.map(option)))
    : optionsOf(element).map(option);
  const node = h("select", { id, class: compact ? "select compact" : "select", "aria-label": compact ? label(element.placeholder) || "Choose" : undefined },
    h("option", { value: "" }, label(element.placeholder) || "Select an option"), groups);
  node.value = element.initial_option?.value || "";
  if (onchange) whenChosen(node, () => onchange(node.value));
  node.read = () => ({ selected_option: optionsOf(element).find((one) => one.value === node.value) || null });
  return node;
}

// Each arrow key changes a closed list. Wait for Enter, or until focus leaves, to act on it.
function whenChosen(node, act) {
  let browsing = false;
  let waits = false;
  const settle = () => {
    browsing = false;
    if (waits) act();
    waits = false;
  };
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && waits) {
      event.preventDefault();
      settle();
    } else browsing = event.key !== " " && event.key !== "Enter";
  });
  node.addEventListener("mousedown", () => (browsing = false));
  node.addEventListener("change", () => {
    waits = true;
    if (!browsing) settle();
  });
  node.addEventListener("blur", settle);
}

const option = (one) =>
  h("option", { value: one.value }, label(one.text) + (one.description ? ` – ${label(one.description)}` : ""));

// Every entity select offers the workspace's people or channels.
function entities(kind) {
  return (element, given) => {
    const listed = kind === "user"
      ? [...state.people.values()].filter((one) => !one.is_bot).map((one) => [one.id, one.name])
      : state.channels.filter((one) => !one.im).map((one) => [one.id, `#${one.name}`]);
    const options = listed.map(([value, text]) => ({ value, text: { type: "plain_text", text } }));
    const initial = options.find((one) => one.value === element[`initial_${kind}`]);
    const node = select({ ...element, options, initial_option: initial }, given);
    node.read = () => ({ [`selected_${kind}`]: node.value || null });
    return node;
  };
}

function many(type) {
  return (element, { id, onchange }) => {
    const chosen = new Set((element.initial_options || [element.initial_option]).filter(Boolean).map((one) => one.value));
    const name = id || element.action_id;
    const boxes = optionsOf(element).map((one, number) => {
      const box = h("input", { type, name, value: one.value, id: number ? undefined : id });
      box.checked = chosen.has(one.value);
      return h("label", { class: "choice" }, box, h("span", {}, textObject(one.text),
        one.description && h("span", { class: "choice-more" }, textObject(one.description))));
    });
    const node = h("div", { class: "choices", role: type === "radio" ? "radiogroup" : "group" }, boxes);
    const values = () => [...node.querySelectorAll("input:checked")].map((one) => one.value);
    // Slack returns options in the order in which they were chosen.
    const order = [...chosen];
    const inOrder = () => [...values()].sort((a, b) => order.indexOf(a) - order.indexOf(b));
    const picked = () => inOrder().map((value) => optionsOf(element).find((one) => one.value === value));
    node.addEventListener("change", ({ target }) => {
      if (order.includes(target.value)) order.splice(order.indexOf(target.value), 1);
      order.push(target.value);
      onchange?.(type === "radio" ? values()[0] : inOrder());
    });
    node.read = () => (type === "radio" ? { selected_option: picked()[0] || null } : { selected_options: picked() });
    return node;
  };
}

function typed(type, attributes = {}) {
  return (element, { id, onchange }) => {
    const multiline = element.multiline;
    const node = h(multiline ? "textarea" : "input", {
      id, class: "text-input", type: multiline ? undefined : type, rows: multiline ? "4" : undefined,
      placeholder: label(element.placeholder), ...attributes, inputmode: type === "number" ? "decimal" : undefined,
      maxlength: element.max_length && String(element.max_length),
    });
    node.value = element.initial_value || "";
    if (onchange) whenTyped(node, element, onchange);
    node.read = () => ({ value: node.value === "" ? null : node.value });
    return node;
  };
}

// Slack tells the app of each pause while a person types, or only of Enter.
const PAUSE = 300; // milliseconds

function whenTyped(node, element, onchange) {
  if (!element.dispatch_action_config?.trigger_actions_on.includes("on_character_entered")) {
    node.addEventListener("change", () => onchange(node.value));
    return;
  }
  let timer;
  const later = (event) => {
    clearTimeout(timer);
    if (!event.isComposing) timer = setTimeout(() => node.isConnected && onchange(node.value), PAUSE);
  };
  node.addEventListener("input", later);
  node.addEventListener("compositionend", later);
}

function picker(type, key) {
  return (element, { id, onchange }) => {
    const node = h("input", { id, type, class: "text-input short", "aria-label": label(element.placeholder) || undefined });
    node.value = element[`initial_${key}`] || "";
    node.addEventListener("change", () => onchange?.(node.value));
    node.read = () => ({ [`selected_${key}`]: node.value || null });
    return node;
  };
}

// Slack shows and returns a moment in the reader's time zone, as Unix time.
function moment(element, { id, onchange }) {
  const node = h("input", { id, type: "datetime-local", class: "text-input short" });
  if (element.initial_date_time) {
    const at = new Date(1000 * element.initial_date_time);
    node.value = new Date(at - 60_000 * at.getTimezoneOffset()).toISOString().slice(0, 16);
  }
  const seconds = () => (node.value ? Math.floor(new Date(node.value).getTime() / 1000) : null);
  node.addEventListener("change", () => onchange?.(seconds()));
  node.read = () => ({ selected_date_time: seconds() });
  return node;
}

const MAKE = {
  static_select: select, external_select: select, users_select: entities("user"),
  conversations_select: entities("conversation"), channels_select: entities("channel"),
  multi_static_select: many("checkbox"), checkboxes: many("checkbox"), radio_buttons: many("radio"),
  plain_text_input: typed("text"), number_input: typed("text", { class: "text-input short" }), email_text_input: typed("email"),
  url_text_input: typed("url"), datepicker: picker("date", "date"), timepicker: picker("time", "time"),
  datetimepicker: moment,
};

// Return view.state.values of all controls below a node.
export function values(root) {
  const held = {};
  for (const node of root.querySelectorAll("[data-input]")) {
    const block = node.closest("[data-block-id]")?.dataset.blockId;
    if (!block || !node.read) continue;
    held[block] = { ...held[block], [node.dataset.actionId]: { type: node.dataset.input, ...node.read() } };
  }
  return held;
}

// Copy typed values into a re-rendered view's inputs with the same ids.
export function keepTyped(before, after) {
  for (const node of before.querySelectorAll("[data-input]")) {
    const block = node.closest("[data-block-id]")?.dataset.blockId;
    const twin = [...after.querySelectorAll("[data-input]")].find(
      (one) => one.dataset.actionId === node.dataset.actionId && one.closest("[data-block-id]")?.dataset.blockId === block,
    );
    if (!twin || !("value" in node) || !node.matches("input,select,textarea")) continue;
    twin.value = node.value;
    if (node.matches("textarea, input[type=text]")) twin.setSelectionRange(node.selectionStart, node.selectionEnd);
  }
}
